"""From command-line words to plain dataclass objects; OmegaConf travels no further than this module.

What a verb needs is imported for that verb alone: `laminar export` loads no training.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .. import configs
from ..errors import LaminarError, nearest
from ..registry import Family
from ..settings import Text, bounds, check, text_of, whole_number
from .mistakes import no_setting, not_whole, unknown
from .reference import flat_keys
from .words import read_text, word_of

SCHEMAS = {  # of each verb: its dataclass, imported when the verb is composed
    "train": "train.config:TrainConfig",
    "eval": "eval.config:EvalConfig",
    "compare": "eval.config:CompareConfig",
    "replay": "eval.config:ReplayConfig",
    "plan": "eval.config:PlanConfig",
    "bench": "eval.config:BenchConfig",
    "export": "eval.config:ExportConfig",
    "schedule": "eval.config:ScheduleConfig",
    "collect": "envs.config:CollectConfig",
    "convert": "data.config:ConvertConfig",
    "inspect": "data.config:InspectConfig",
    "language": "data.config:LanguageConfig",
    "view": "eval.config:ViewConfig",
    "serve": "deploy.config:ServeConfig",
    "deploy": "deploy.config:DeployConfig",
    "simulate": "deploy.config:SimulateConfig",
    "sweep": "train.sweeps.config:SweepConfig",
}
FAMILIES = {  # whose members are the options of a group
    "policy": "policies.processes:PROCESSES",
    "network": "policies.networks:NETWORKS",
    "method": "train.methods:METHODS",
    "launcher": "train.sweeps.launchers:LAUNCHERS",
}
GROUPS: dict[str, tuple[str, ...]] = {  # words like `policy=flow`, which choose a file of this folder
    "train": ("policy", "network", "method", "task", "runtime", "experiment"),
    "eval": ("task",),
    "compare": ("task",),
    "replay": (),
    "plan": ("task",),
    "bench": (),
    "export": (),
    "schedule": (),
    "collect": ("task",),
    "convert": (),
    "inspect": (),
    "language": (),
    "view": (),
    "serve": (),
    "deploy": (),
    "simulate": (),
    "sweep": ("launcher",),
}
ONLY = {("task", "calvin-chain"): "eval"}  # choices that one verb alone understands
_PACKAGE = __name__.rpartition(".configs.")[0]
_SHORT = {  # a path or a name alone
    "train": {"init": "init.path", "world": "world.path", "policy.encoder": "policy.encoder.kind"},
    "eval": {"launcher": "launcher.kind"},
    "replay": {"world": "world.path"},
    "sweep": {"stop": "stop.rule"},
}
_LOCK = threading.Lock()
_UNFIT = re.compile(r"Value '(.*)' of type '\w+' could not be converted to ")


def compose(verb: str, words: Sequence[str], values: Mapping[str, Any] | None = None) -> Any:
    """Compose the settings of a verb from `key=value` words, and from values of Python.

    Args:
        verb: the verb.
        words: as they were typed.
        values: dotted key -> value of settings that were not typed; a path or name is taken as it is.

    Returns:
        The verb's dataclass (`TrainConfig`, `EvalConfig`, …), every field a plain Python object.

    Raises:
        LaminarError: a word is no `key=value`, a key is unknown (the nearest is named), or a value has the wrong type.
    """
    groups = GROUPS[verb]
    typed = [_split(verb, word, after) for word, after in zip(words, [*words[1:], None], strict=False)]
    given: list[tuple[str, Any]] = [*typed, *(values or {}).items()]
    plain = [f"{key}={choice_of(verb, key, str(value))}" for key, value in given if key in groups]  # Hydra's grammar
    config = select(verb, plain, schemas(verb))
    known = flat_keys(OmegaConf.to_container(config))
    texts: dict[str, Any] = {}  # past Hydra and OmegaConf, which would read more in them than characters
    for position, (key, value) in enumerate(given):
        if key in groups:
            continue
        if key not in known:
            raise unknown(verb, key, known, groups)
        _check_leaf(config, key)
        kind, is_typed = _kind(config, key), position < len(typed)
        if kind is None:
            text = value if is_typed else word_of(key, value)
            _check_whole(config, key, text)
            plain.append(_grammatical(f"{key}={text}"))
        else:
            texts[key] = read_text(key, value, kind) if is_typed else value
    composed = _to_objects(select(verb, plain, ()))
    for key, value in texts.items():
        *owners, name = key.split(".")
        setattr(reduce(getattr, owners, composed), name, value)
    if verb == "train":
        _check_policy(composed, given)
    check(composed)
    return composed


def given_in(words: Sequence[str]) -> list[str]:
    """Return the keys of words that were composed for `train`."""
    return [_split("train", word, None)[0] for word in words]


def is_setting(verb: str, word: str) -> bool:
    """Tell whether a word is `key=value`, maybe with a misspelt key, and not a path that has a "=" in it."""
    key, equals, _ = word.partition("=")
    known = [*GROUPS[verb], *(one.name for one in fields(_load(SCHEMAS[verb])))]
    return bool(equals) and (key.partition(".")[0] in known or not ("/" in key or os.path.lexists(word)))


def options(group: str, verb: str = "") -> list[str]:
    """Names that `group=` accepts, of a verb if one is named: files, and members that a user registered.

    Files in sub-folders have the folder in their name.
    """
    names = sorted({*_files(group), *registered(group)})
    return [name for name in names if not verb or ONLY.get((group, name), verb) == verb]


def _files(group: str) -> list[str]:
    folder = Path(__file__).parent / group
    return [path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")]


def registered(group: str) -> list[str]:
    """Members of a group that come from elsewhere; a family that nobody has imported has none."""
    place = FAMILIES.get(group, "").partition(":")[0]
    loaded = f"{_PACKAGE}.{place}" in sys.modules
    return _load(FAMILIES[group]).registered if place and loaded else []


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(f"{_PACKAGE}.{module}"), name)


def select(verb: str, words: Sequence[str], nodes: Iterable[tuple[str, Any]]) -> DictConfig:
    """Let Hydra choose and override.

    Args:
        verb: the verb.
        words: of Hydra's grammar.
        nodes: from `schemas`, or plain values in place of its classes.

    Raises:
        LaminarError: a word that Hydra does not take, in one line.
    """
    store = ConfigStore.instance()
    with _own_hydra():
        for place, node in nodes:
            group, _, name = place.rpartition("/")
            store.store(group=group or None, name=name, node=node)
        try:
            with initialize_config_module(configs.__name__, version_base="1.3"):
                return hydra_compose(verb, list(words))
        except (HydraException, OmegaConfBaseException) as error:
            raise LaminarError(_one_line(error)) from error


@contextmanager
def _own_hydra() -> Generator[None]:
    """Have the one Hydra of a process to oneself: other threads wait, and a program's own is put back afterwards."""
    with _LOCK:
        before = GlobalHydra.instance().hydra
        GlobalHydra.instance().clear()
        try:
            yield
        finally:
            GlobalHydra.instance().hydra = before  # of what may be another instance than it was


def _to_objects(config: DictConfig) -> Any:
    try:
        return OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise LaminarError(_one_line(error)) from error


def _split(verb: str, word: str, after: str | None) -> tuple[str, str]:
    """Return key and text of one `key=value` word, which another one follows."""
    key, equals, text = word.partition("=")
    if key.startswith(("+", "~")):
        raise LaminarError(f"'{word}': settings can be changed with key=value, not added or deleted")
    if not equals or key.startswith("-"):
        raise no_setting(verb, word, after)
    return _SHORT.get(verb, {}).get(key, key), text


def _grammatical(word: str) -> str:
    """Return a word that Hydra's grammar understands."""
    try:
        OverridesParser.create().parse_override(word).value()
    except HydraException as error:
        raise LaminarError(f"'{word}' is not key=value; quote values with special characters: \"key='…'\"") from error
    return word


def _kind(config: DictConfig, key: str) -> Text | None:
    """Return how a setting takes text, None where its value is something else."""
    group, _, name = key.rpartition(".")
    owner = OmegaConf.get_type(OmegaConf.select(config, group) if group else config)
    return text_of(owner, name) if owner is not None and is_dataclass(owner) else None


def _check_whole(config: DictConfig, key: str, text: str) -> None:
    """Refuse `1e4` and `1.5` where a whole number is wanted; Hydra's words for it name types of Python."""
    group, _, name = key.rpartition(".")
    owner = OmegaConf.get_type(OmegaConf.select(config, group) if group else config)
    allowed = whole_number(owner, name) if owner is not None and is_dataclass(owner) else None
    error = not_whole(key, text, allowed) if allowed else None
    if error:
        raise error


def choice_of(verb: str, group: str, text: str) -> str:
    """Return the name in a word like `policy=flow`: Hydra passes over unknown options of an optional group."""
    value = str(read_text(group, text, Text()))
    owner = ONLY.get((group, value), verb)
    if owner != verb:
        raise LaminarError(f"{group}={value} is for laminar {owner}; laminar {verb} has no such protocol")
    known = options(group, verb)
    if value not in known:
        listed = ", ".join(_beside(value, known))
        raise LaminarError(f"no {group} is called '{value}' (known: {listed}){nearest(value, known)}")
    return value


def _beside(value: str, known: list[str]) -> list[str]:
    """Return the names in the folder of a misspelt one, or else those at the top, folders as "playroom/…"."""
    folder, slash, _ = value.rpartition("/")
    inside = [name for name in known if slash and name.rpartition("/")[0] == folder]
    return inside or list(dict.fromkeys(name if "/" not in name else name.split("/")[0] + "/…" for name in known))


def _check_leaf(config: DictConfig, key: str) -> None:
    """Refuse to replace a whole group of settings, or the name that ties settings to their class."""
    group, _, last = key.rpartition(".")
    if last == "name":
        raise LaminarError(f"'{key}' cannot be set; choose {group.split('.')[0]}=NAME, which brings its own settings")
    if isinstance(OmegaConf.select(config, key), DictConfig):
        inside = list(OmegaConf.select(config, key))
        raise LaminarError(f"'{key}' is a group of settings; set one of them, such as {key}.{inside[-1]}=…")


def _check_policy(config: Any, given: Sequence[tuple[str, Any]]) -> None:
    """Refuse a policy or network beside `init`, which brings its own, and for a method that trains none."""
    chosen = [f"{key}={text}" for key, text in given if key.split(".")[0] in ("policy", "network")]
    if not chosen:
        return
    if config.init.path is not None:
        raise LaminarError(f"init={config.init.path} brings its own policy and network; leave out {chosen[0]}")
    if not _load(FAMILIES["method"]).member_class(config.method.name).improves_policy:
        raise LaminarError(f"method={config.method.name} trains no policy; leave out {chosen[0]}")


def _one_line(error: Exception) -> str:
    """Shorten an error of Hydra or OmegaConf: the cause alone, on one line, and what the setting may be."""
    cause: Any = error.__cause__ or error
    text = " ".join(line.strip() for line in str(cause).splitlines() if line.strip())
    kind, key = getattr(cause, "object_type", None), str(getattr(cause, "full_key", "")).rpartition(".")[2]
    allowed = bounds(kind()).get(key) if isinstance(kind, type) and is_dataclass(kind) else None
    unfit = _UNFIT.match(text)
    if unfit and allowed:
        return f"{cause.full_key} is {unfit[1]}, which is no number; it must be {allowed}"
    text = text.replace("full_key:", "for").replace("object_type=", "in ")
    return f"{text}; it must be {allowed}" if allowed else text


def schemas(verb: str) -> Iterator[tuple[str, Any]]:
    """Yield what Hydra is to know before a verb is composed: its dataclass, and the Config of every member to choose.

    Names are those in Hydra's store, with the group in front: `train_schema`, `policy/flow_schema`.
    """
    yield f"{verb}_schema", _load(SCHEMAS[verb])
    for group, place in FAMILIES.items():
        if group in GROUPS[verb]:
            yield from _members(group, _load(place))
    if verb == "train":
        yield "runtime/runtime_schema", _load("train.config:RuntimeConfig")


def _members(group: str, family: Family[Any]) -> Iterator[tuple[str, Any]]:
    _refuse_hidden(group, family.registered)
    for name in family.names():
        config = family.config_class(name)
        node = _load("policies.generative:PolicyConfig")(process=config()) if group == "policy" else config
        # A member from elsewhere has no file: its defaults are what `group=NAME` chooses.
        yield f"{group}/{name}{'' if name in family.registered else '_schema'}", node
        if group == "policy" and name not in family.registered and family.member_class(name).regresses:
            planner = _load("policies.planners.config:PlannerConfig")
            yield f"policy/planner_{name}_schema", planner(process=config())


def _refuse_hidden(group: str, registered: Iterable[str]) -> None:
    """Refuse a member from elsewhere whose name is that of a file, which would be chosen in its place."""
    for name in {*registered} & {*_files(group)}:
        raise LaminarError(f"{group}={name} is laminar's own already; register yours under another name")
