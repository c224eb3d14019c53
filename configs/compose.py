"""From command-line words to plain dataclass objects; OmegaConf travels no further than this module."""

from __future__ import annotations

import os
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..envs.config import CollectConfig
from ..errors import LaminarError, nearest
from ..eval.config import CompareConfig, EvalConfig
from ..policies import PolicyConfig, registry
from ..train.config import RuntimeConfig, TrainConfig
from ..train.improver import improvers

SCHEMAS = {"train": TrainConfig, "eval": EvalConfig, "compare": CompareConfig, "collect": CollectConfig}
GROUPS = ("policy", "network", "method", "task", "runtime", "experiment")


def compose(verb: str, words: list[str]) -> Any:
    """Compose the settings of a verb from `key=value` words.

    Returns:
        The verb's dataclass (`TrainConfig`, `EvalConfig`, …), every field a plain Python object.

    Raises:
        LaminarError: a word is no `key=value`, a key is unknown (the nearest is named), or a value has the wrong type.
    """
    keys = [_key(word) for word in words]
    choices = [word for word, key in zip(words, keys, strict=True) if key in GROUPS]
    known = flat_keys(_compose(verb, choices))
    for key in keys:
        if key not in known and key not in GROUPS:
            raise LaminarError(f"unknown setting '{key}' for laminar {verb}{nearest(key, [*known, *GROUPS])}")
    return OmegaConf.to_object(_compose(verb, words))


def describe(verb: str) -> str:
    """Every setting of a verb with its default, as YAML."""
    return OmegaConf.to_yaml(_compose(verb, []))


def flat_keys(config: DictConfig) -> list[str]:
    """Dotted keys of all nodes and leaves."""
    keys: list[str] = []
    for key in config:
        value = config._get_node(key)
        keys.append(str(key))
        if isinstance(value, DictConfig) and not value._is_none():
            keys += [f"{key}.{below}" for below in flat_keys(value)]
    return keys


def options(group: str) -> list[str]:
    """Names that `group=` accepts."""
    folder = os.path.join(os.path.dirname(__file__), group)
    return sorted(name.removesuffix(".yaml") for name in os.listdir(folder) if name.endswith(".yaml"))


def _compose(verb: str, words: list[str]) -> DictConfig:
    _register()
    try:
        with initialize_config_module(__package__, version_base="1.3"):
            return hydra_compose(verb, words)
    except (HydraException, OmegaConfBaseException) as error:
        raise LaminarError(_one_line(error, words)) from error


def _key(word: str) -> str:
    """Return the key of one `key=value` word."""
    if word.startswith(("+", "~")):
        raise LaminarError(f"'{word}': settings can be changed with key=value, not added or deleted")
    try:
        return str(OverridesParser.create().parse_override(word).key_or_group)
    except HydraException as error:
        raise LaminarError(f"'{word}' is not key=value; quote values with special characters: \"key='…'\"") from error


def _one_line(error: Exception, words: list[str]) -> str:
    """Say which word a composition error is about; Hydra's own text is long and names files of ours."""
    for word in words:
        key, _, value = word.partition("=")
        if key in GROUPS and value not in options(key):
            return f"no {key} is called '{value}' (known: {', '.join(options(key))}){nearest(value, options(key))}"
    cause = error.__cause__ or error
    text = " ".join(line.strip() for line in str(cause).splitlines() if line.strip())
    return text.replace("full_key:", "for").replace("object_type=", "in ")


def _register() -> None:
    """Make every registered member's Config a Hydra schema; file names are the only list."""
    store = ConfigStore.instance()
    for verb, schema in SCHEMAS.items():
        store.store(name=f"{verb}_schema", node=schema)
    for name in registry.names("process"):
        node = PolicyConfig(process=registry.config_class("process", name)())
        store.store(group="policy", name=f"{name}_schema", node=node)
    for name in registry.names("network"):
        store.store(group="network", name=f"{name}_schema", node=registry.config_class("network", name))
    for name, (_, config) in improvers().items():
        store.store(group="method", name=f"{name}_schema", node=config)
    store.store(group="runtime", name="runtime_schema", node=RuntimeConfig)
