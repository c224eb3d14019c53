"""What a run is made of: recordings, the policy that it starts from, the world that it acts in, the improver."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ...data.episodes import Episodes
from ...data.load import Selection, as_executed, chosen_in, load_episodes
from ...data.spec import Spec
from ...envs.actors import Actors
from ...envs.crew import Hire
from ...envs.fitting import fit_env, training_remarks
from ...envs.ogbench.rewards import with_rewards
from ...envs.processes import Processes
from ...envs.slots import Slots
from ...envs.workers import WorkerSlots
from ...envs.world import World
from ...errors import LaminarError
from ...eval.rollouts.episodes import check_ends
from ...policies.generative import generative_in
from ...policies.module import PolicyModule
from ...world_models.dreams import open_dreams
from ...world_models.imagination import Imagination
from ..config import TrainConfig, TrainEnvConfig
from ..improver import Context, Improver
from ..methods import METHODS
from ..start import opened, starting_policy
from ..update.group import Group
from .dreaming import check_dreams, skill_of

_GLOBAL_GENERATOR = threading.Lock()  # PyTorch's, which is one for all threads of a program


def one_a_seed(config: TrainConfig) -> list[TrainConfig]:
    """Return the settings with which each seed's run could have been started by itself.

    Raises:
        LaminarError: no folder for the seeds, or one that holds a run of a single seed.
    """
    if config.seeds is None:
        return [config]
    if not config.out:
        raise LaminarError("train needs out=FOLDER, in which each of the seeds gets a folder of its own")
    if (Path(config.out) / "run.json").exists():
        raise LaminarError(
            f"{config.out} already holds a run of one seed; choose another out= for seeds={config.seeds}"
        )
    return [replace(config, seeds=None, seed=k, out=str(Path(config.out) / f"seed_{k}")) for k in config.seeds]


def with_settings_of_init(config: TrainConfig, given: PolicyModule | None) -> TrainConfig:
    """Return the settings with the policy and network that are really used; of a black box none are known."""
    if config.init.path is None:
        return config
    policy = generative_in(opened(config, given))
    return config if policy is None else replace(config, policy=policy.policy_config, network=policy.network_config)


def acts(config: TrainConfig) -> bool:
    """Tell whether a run acts while it learns.

    A method that can do without learns from recordings alone, if there are some, and neither control steps are given
    nor dreams.
    """
    method = METHODS.member_class(config.method.name)
    recorded_alone = config.data.path is not None and config.env.steps is None and config.world.path is None
    return method.acts and not (method.learns_offline and recorded_alone)


def with_updates(config: TrainConfig, given: PolicyModule | None = None) -> TrainConfig:
    """Return the settings with the number of updates that a method which acts comes to.

    That of its control steps; where none are given, that of its own settings, unless `steps` says how many.

    Raises:
        LaminarError: another number of updates was asked for.
    """
    method, asked = METHODS.member_class(config.method.name), config.steps != TrainConfig.steps
    if not acts(config) or (config.env.steps is None and asked):
        return config
    slots = config.env.slots if config.world.path is None else config.world.slots
    updates = method.updates(config.method, config.env.steps, slots, _executed(config, given))
    if updates is None:
        return config
    if asked and config.steps != updates and not config.resume:
        raise LaminarError(
            f"steps={config.steps} and env.steps={config.env.steps} are both set, and these control steps have "
            f"{updates} updates; leave one of them out"
        )
    return replace(config, steps=updates)


def _executed(config: TrainConfig, given: PolicyModule | None) -> int:
    """Return how many actions of a chunk the policy executes that a run starts from."""
    return config.policy.execute if config.init.path is None else opened(config, given).spec.execute


def load_recorded(config: TrainConfig) -> Episodes | None:
    """Read the demonstrations or logs of a run, if it has any."""
    data = config.data
    if data.path is None:
        return None
    kept = (data.filter, data.robot, data.video, data.frame, data.goals)
    selection = Selection(data.observation, data.action, data.instruction, *kept)
    dreams = config.world.path is not None
    if dreams and data.instruction is None and "instruction" in chosen_in(data.path):
        selection = replace(selection, instruction="task")  # dreams begin at annotated windows
    if dreams or not METHODS.member_class(config.method.name).improves_policy:
        selection = as_executed(data.path, selection)
    episodes = load_episodes(data.path, selection)
    return episodes if data.task is None else with_rewards(episodes, _task(config))


def _task(config: TrainConfig) -> str:
    """Return the id of the environment whose rewards the recordings get."""
    task = str(config.data.task)
    if task != "env":
        return task
    if config.env.id is None:
        raise LaminarError("data.task=env is the task of env.id, and there is none; give env.id=ID or data.task=ID")
    return config.env.id


def build_improver(
    config: TrainConfig,
    recorded: Episodes | None,
    group: Group,
    like: Improver | None,
    given: PolicyModule | None = None,
) -> Improver:
    """Build the policy, the world if the method acts in one, and the improver.

    Args:
        config: of one seed.
        recorded: demonstrations or logs.
        group: processes that train together.
        like: the first seed's improver, whose data on the device serve the others.
        given: policy to start from, in place of that of `init.path`.

    Raises:
        LaminarError: whatever does not fit together.
    """
    method = METHODS.member_class(config.method.name)
    _check_method(config, method, group)
    # Weight initialization is the one use of the global generator; all else draws from an explicit one.
    with _GLOBAL_GENERATOR:
        torch.manual_seed(config.seed)
        dreams = config.world.path is not None  # they take the recordings, and the method has what it dreams
        policy = starting_policy(config, None if dreams else recorded, given) if method.improves_policy else None
        context = Context(
            steps=config.steps,
            seed=config.seed,
            generator=torch.Generator(config.runtime.device).manual_seed(config.seed),
            runtime=config.runtime,
            group=group,
            short_episodes=config.data.short_episodes,
            balance=config.data.balance,
            init=config.init.path,
            world=_world(config, policy.spec, recorded) if acts(config) and policy is not None else None,
            like=like,
        )
        return method(policy, None if dreams else recorded, config.method, context)


def _named(config: TrainConfig) -> str:
    """Name of the method as it is given on the command line: of several sets of settings for one method that set's."""
    return getattr(config.method, "recipe", config.method.name)


def _check_method(config: TrainConfig, method: type[Improver], group: Group) -> None:
    name, default = _named(config), TrainEnvConfig()
    still = f"without env.steps method={name} learns from data.path alone" if method.acts else f"method={name} does not"
    for setting in () if acts(config) else ("steps", "slots", "processes", "workers"):
        if getattr(config.env, setting) != getattr(default, setting):
            raise LaminarError(f"env.{setting} is for methods that act, and {still}; leave it out")
    check_dreams(config, name, method.acts)
    if acts(config) and group.size > 1:
        raise LaminarError(f"method={name} acts while it learns, in one process; start it without torchrun")
    if config.data.balance and not method.balances:
        raise LaminarError(
            f"data.balance is for method=bc, and method={name} learns from each step as often; leave it out"
        )
    if method.freezes and config.init.normalizer != "keep":
        raise LaminarError(
            f"method={name} never changes the policy that it starts from, and with "
            f"init.normalizer={config.init.normalizer} that would act otherwise than it was saved; leave it out"
        )


def _world(config: TrainConfig, wanted: Spec, recorded: Episodes | None) -> World:
    env = config.env
    if config.world.path is not None:
        task = skill_of(config)
        device = torch.device(config.runtime.device)
        return open_dreams(config.world, recorded, wanted, task, config.seed, device, config.runtime.compiled)
    if env.id is None:
        offline = METHODS.member_class(config.method.name).learns_offline
        also = ", or data.path=FILE without env.steps to learn from recordings alone" if offline else ""
        raise LaminarError(
            f"method={_named(config)} acts while it learns: give env.id=ENVIRONMENT, or world=WORLD to act in a dream"
            f"{also}"
        )
    count, hire = _workers(env)
    return WorkerSlots(env.id, wanted, env.slots, count, hire) if count else Slots(env.id, wanted, env.slots)


def _workers(env: TrainEnvConfig) -> tuple[int, Hire]:
    """Return how many workers step the environments, 0 for none, and what starts them.

    Raises:
        LaminarError: `env.workers` is nothing that is understood, or not alone.
    """
    if env.workers is None:
        return env.processes, Processes
    place, _, count = env.workers.partition(":")
    if place != "ray" or not count.isdecimal() or int(count) == 0:
        raise LaminarError(f"env.workers={env.workers} must be ray:N, such as ray:32; of this machine env.processes=N")
    if env.processes:
        raise LaminarError(f"env.processes={env.processes} and env.workers={env.workers} are both set; give one")
    return int(count), Actors


def world_remarks(config: TrainConfig, improver: Improver) -> list[str]:
    """Return what is worth knowing about where a method acts, one line each."""
    if improver.acts and improver.world is None:
        return [f"method={_named(config)} learns from these recordings alone; env.steps=N lets it act as well"]
    return improver.world.remarks if isinstance(improver.world, Imagination) else []


def check_environment(config: TrainConfig, product: nn.Module, recorded: Episodes | None) -> list[str]:
    """Find out now, not at the first evaluation, whether what is trained fits the environment to evaluate in.

    Returns:
        What is worth knowing about data and environment, one line each.

    Raises:
        LaminarError: it does not; or it is no policy and is to be evaluated.
    """
    if not isinstance(product, PolicyModule):
        if config.evaluation.every:
            raise LaminarError(
                f"method={config.method.name} trains no policy that could be evaluated; set evaluation.every=0"
            )
        if config.env.id is not None:
            raise LaminarError(
                f"method={config.method.name} trains no policy that could act in env.id={config.env.id}; leave out "
                "task= and env.id="
            )
        return []
    if config.env.id is None:
        return []
    fitted = fit_env(config.env.id, product.spec, whose=str(config.data.path))
    try:
        if config.evaluation.every:
            check_ends(config.env.id, fitted.env)
        return training_remarks(fitted, None if recorded is None else recorded.action)
    finally:
        fitted.env.close()
