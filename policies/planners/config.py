"""Settings of planners; configs/policy/ spells out what was published."""

# Hydra reads these classes and needs real types: no postponed annotations here.
from dataclasses import dataclass, field
from typing import ClassVar

from ...settings import check, choice, number, share
from ..generative import PolicyConfig
from ..guided.acting import JACOBIANS, SELECTIONS
from ..networks.critics import CriticConfig
from .draft import DraftConfig

GUIDED_BY = ("best_of_n", "gradient")
CONTROLLERS = ("chunk", "inverse", "waypoints")


@dataclass
class Following:
    """How a plan is followed: a choice of acting, which evaluations can make anew."""

    # chunk: its first actions, without looking. inverse: at every step the actions that lead to the plan from where one
    # is. waypoints: at every step a force to where the plan will be, of states that are positions and velocities.
    controller: str = choice("chunk", *CONTROLLERS)
    # control steps until the next plan; 0 makes one an episode, null is policy.execute
    replan: int | None = number(None, least=0, null=True)
    # last steps of the process that the plan of before goes through, to become the next one; null begins with noise
    warm_start: int | None = number(None, least=1, null=True)
    track_return: bool = False  # what is still asked for falls by the rewards that are got


@dataclass
class Refinement(DraftConfig):
    """A plan that a causal generator writes, and the last denoising steps improve (Trajectory Diffuser)."""

    # last steps of the process that a draft goes through; 0 leaves drafts out, null learns none
    steps: int | None = number(None, least=0, null=True)
    noised: bool = True  # the draft gets the noise of the step at which it begins; false: as the public code has it


@dataclass
class InverseConfig:
    """The policy that finds the actions between two states of a plan."""

    process: str = choice("direct", "direct", "meanflow", "flow", "diffusion")  # how it generates them
    steps: int = number(10, least=1)  # of flow and diffusion
    width: int = number(256, least=1)  # of its layers
    depth: int = number(3, least=1, most=1000)  # layers


@dataclass
class PlannerConfig(PolicyConfig):
    """What a plan is, how it is made, and how one is chosen."""

    kind: ClassVar[str] = "planners"
    horizon: int = number(32, least=2)  # states of a plan, the present one included
    stride: int = number(1, least=1)  # control steps from a state of a plan to the next
    # Whether a plan has the actions as well (Diffuser), or an inverse model finds them; null: unless it ends at a goal.
    actions: bool | None = False
    # Whether a plan ends at a goal, which the observation 'goal' says: the first numbers of a state. null: where the
    # recordings have goals.
    goals: bool | None = None
    # Whether plans are conditioned on their return (Decision Diffuser); null: unless they end at a goal.
    returns: bool | None = False
    dropout: float = share(0.25)  # share of the samples that are not told their return
    weight: float = number(1.2, least=0)  # classifier-free weight of the return; 1 is plain conditioning
    # that is asked for, raw; null is the highest in the recordings
    target_return: float | None = number(None, null=True)
    draft: Refinement = field(default_factory=Refinement)
    inverse: InverseConfig = field(default_factory=InverseConfig)
    follow: Following = field(default_factory=Following)
    # A control step, of the returns that plans and critic are about. With 0.99 the first steps of an episode that falls
    # after 400 expect nearly as much as those of one that never does; 0.997 is Diffuser's and Diffusion Veteran's.
    discount: float = number(0.997, above=0, most=1)
    # Whether a critic chooses or guides, as the settings after it say; null: unless plans end at a goal.
    judge: bool | None = None
    critic: CriticConfig = field(default_factory=CriticConfig)  # of plans
    candidates: int = number(1, least=1)  # plans of a decision, of which the critic chooses one
    selection: str = choice("argmax", *SELECTIONS)  # of a candidate
    temperature: float = number(1.0, above=0)  # of the softmax and of the gradient, where all returns lie from 0 to 1
    guidance: str = choice("best_of_n", *GUIDED_BY)  # gradient: the critic's gradient moves plans on their way
    strength: float = number(1.0, above=0)  # factor of that gradient
    jacobian: str = choice("exact", *JACOBIANS)  # through the network, or as it is at the clean plan


def check_config(config: PlannerConfig) -> None:
    """Refuse settings that make no sense, alone or together.

    Raises:
        LaminarError: names the setting.
    """
    check(config, "policy")
    check(config.draft, "policy.draft")
    check(config.inverse, "policy.inverse")
    check(config.critic, "policy.critic")
    check(config.follow, "policy.follow")
