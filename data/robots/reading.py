"""A robot's description from its YAML file; every word is understood, or refused with where it stands."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

import yaml

from ...errors import LaminarError, nearest
from ...machine import at_home
from .description import ANGLES, AXES, Camera, Output, Part, Robot, Watch

FOLDER = Path(__file__).parents[2] / "configs" / "robot"
_DIALECTS = ("ros1", "ros2")
_ROLES = ("reset", "estop", "seed", "success", "heartbeat")
_TOP = (
    "name",
    "dialect",
    "namespace",
    "rate_hz",
    "topics",
    "observation",
    "action",
    "units",
    "watch",
    "simulator",
    *_ROLES,
)
_NAMED = ("sensor_msgs/msg/JointState", "trajectory_msgs/msg/JointTrajectory")
_PICTURES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_KEEP = "keep"


def robot_names() -> list[str]:
    """Return the names of the robots that come along."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_robot(name: str | Path) -> Robot:
    """Read a robot's description.

    Args:
        name: of one that comes along, or the path of a YAML file.

    Raises:
        LaminarError: there is none, or something in it is not understood; names where.
    """
    known = FOLDER / f"{name}.yaml"
    path = known if known.exists() else Path(at_home(str(name)))
    if not path.is_file():
        hint = nearest(str(name), robot_names())
        raise LaminarError(f"no robot is called '{name}' (known: {', '.join(robot_names())}), and no file is{hint}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise LaminarError(f"{path} is no YAML: {error}") from error
    return robot_from(text, str(path), path.stem)


def robot_from(text: str, source: str, name: str) -> Robot:
    """Understand the text of a description.

    Args:
        text: YAML.
        source: where it is from, for messages.
        name: of the robot, where the text has none.

    Raises:
        LaminarError: something in it is not understood; names where.
    """
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise LaminarError(f"{source} is no YAML: {' '.join(str(error).split())}") from error
    robot = _Reader(source, name, _mapping(content, source)).robot()
    return replace(robot, text=text)


class _Reader:
    """One text while it is read; `where` is a place in it, for messages."""

    def __init__(self, source: str, name: str, content: Mapping[str, Any]) -> None:
        self._source, self._name, self._content = source, name, content
        self._namespace = str(content.get("namespace", "")).rstrip("/")
        self._types: dict[str, str] = {}

    def robot(self) -> Robot:
        content = self._content
        self._known(content, (*_TOP, *_ROLES), "")
        for needed in ("topics", "observation", "action", "rate_hz"):
            if not content.get(needed):
                raise self._wrong(needed, "is missing")
        topics = self._mapping(content["topics"], "topics")
        self._types = {self._full(topic): self._text(kind, f"topics.{topic}") for topic, kind in topics.items()}
        dialect = content.get("dialect", "ros2")
        if dialect not in _DIALECTS:
            raise self._wrong("dialect", f"is one of {', '.join(_DIALECTS)}, not {dialect!r}")
        shown = self._mapping(content["observation"], "observation")
        outputs = self._list(content["action"], "action")
        units = self._mapping(content.get("units", {}), "units")
        return Robot(
            name=self._text(content.get("name", self._name), "name"),
            dialect=dialect,
            rate_hz=self._number(content["rate_hz"], "rate_hz", above=0.0),
            types=self._types,
            observation={str(key): self._shown(value, f"observation.{key}") for key, value in shown.items()},
            action=tuple(self._output(one, f"action[{index}]") for index, one in enumerate(outputs)),
            units={key: self._text(unit, f"units.{key}") for key, unit in units.items()},
            watch=self._watch(content.get("watch", {})),
            simulator=self._text(content.get("simulator", ""), "simulator"),
            source=self._source,
            **{role: self._full(self._text(content[role], role)) if content.get(role) else "" for role in _ROLES},
        )

    def _shown(self, value: Any, where: str) -> tuple[Part, ...] | Camera:
        if isinstance(value, Mapping):
            return self._camera(cast("Mapping[str, Any]", value), where)
        return tuple(self._part(one, f"{where}[{index}]") for index, one in enumerate(self._list(value, where)))

    def _camera(self, value: Mapping[str, Any], where: str) -> Camera:
        self._known(value, ("topic", "size", "resize"), where)
        topic = self._topic(value, where)
        if self._types[topic] not in _PICTURES:
            raise self._wrong(f"{where}.topic", f"{topic} carries {self._types[topic]}, which is no picture")
        height, width = self._sizes(value.get("size"), f"{where}.size")
        return Camera(topic, height, width, self._truth(value.get("resize", False), f"{where}.resize"))

    def _sizes(self, value: Any, where: str) -> tuple[int, int]:
        sizes = self._list(value, where)
        if len(sizes) != 2 or not all(type(size) is int and size > 0 for size in sizes):
            raise self._wrong(where, f"is height and width in pixels, got {value}")
        return sizes[0], sizes[1]

    def _part(self, value: Any, where: str) -> Part:
        value = self._mapping(value, where)
        self._known(value, ("topic", "field", "names", "euler", "scale"), where)
        topic, euler = self._topic(value, where), self._truth(value.get("euler", False), f"{where}.euler")
        names = self._names(value, ANGLES if euler else (), where)
        if euler and len(names) != len(ANGLES):
            raise self._wrong(f"{where}.names", f"roll, pitch and yaw are three, got {len(names)}")
        scale = self._number(value.get("scale", 1.0), f"{where}.scale")
        return Part(topic, self._text(value.get("field"), f"{where}.field"), names, euler, scale)

    def _names(self, value: Mapping[str, Any], usual: Sequence[str], where: str) -> tuple[str, ...]:
        if "names" not in value and usual:
            return tuple(usual)
        field = str(value.get("field", "")).rpartition(".")[2]
        if "names" not in value and field in ("position", "linear", "angular") and not self._is_named(value):
            return AXES[3]
        if "names" not in value and field == "orientation":
            return AXES[4]
        names = self._list(value.get("names"), f"{where}.names")
        if not names or not all(isinstance(name, str) for name in names) or len({*names}) < len(names):
            raise self._wrong(f"{where}.names", f"are different texts, one a number, got {names}")
        return tuple(names)

    def _is_named(self, value: Mapping[str, Any]) -> bool:
        return self._types.get(self._full(str(value.get("topic"))), "") in _NAMED

    def _output(self, value: Any, where: str) -> Output:
        value = self._mapping(value, where)
        known = [one.name for one in fields(Output)]
        self._known(value, known, where)
        names = self._names(value, (), where)
        parts = self._list(value.get("measured", []), f"{where}.measured")
        measured = tuple(self._part(one, f"{where}.measured[{index}]") for index, one in enumerate(parts))
        if bool(measured) == ("rest" in value):
            raise self._wrong(where, "needs either `measured`, where its positions are read, or `rest`, what stops it")
        width = sum(part.width for part in measured)
        if measured and width != len(names):
            raise self._wrong(f"{where}.measured", f"has {width} numbers for {len(names)}")
        limits = {name: self._each(value.get(name), len(names), f"{where}.{name}") for name in known[5:9]}
        for name in ("velocity", "acceleration"):
            if not all(number > 0 for number in limits[name]):
                raise self._wrong(f"{where}.{name}", "is above 0")
        return Output(
            self._topic(value, where),
            self._text(value.get("field"), f"{where}.field"),
            names,
            measured,
            self._rest(value.get("rest"), len(names), f"{where}.rest"),
            **limits,
            euler=self._truth(value.get("euler", False), f"{where}.euler"),
            frame=self._text(value.get("frame", ""), f"{where}.frame"),
            points=int(self._number(value.get("points", 3), f"{where}.points", least=1.0)),
        )

    def _each(self, value: Any, width: int, where: str) -> tuple[float, ...]:
        """Return one number for each; a single one is that of all, and none is none."""
        if value is None:
            return ()
        values = cast("list[Any]", value) if isinstance(value, list) else [value] * width
        if len(values) != width:
            raise self._wrong(where, f"is one number, or {width}, got {len(values)}")
        return tuple(self._number(one, where) for one in values)

    def _rest(self, value: Any, width: int, where: str) -> tuple[float | None, ...]:
        if value is None:
            return ()
        values = cast("list[Any]", value) if isinstance(value, list) else [value] * width
        if len(values) != width:
            raise self._wrong(where, f"is one number, or {width}, got {len(values)}")
        return tuple(None if one == _KEEP else self._number(one, where) for one in values)

    def _watch(self, value: Any) -> Watch:
        value = self._mapping(value, "watch")
        self._known(value, [one.name for one in fields(Watch)], "watch")
        return Watch(**{name: self._number(one, f"watch.{name}", above=0.0) for name, one in value.items()})

    def _topic(self, value: Mapping[str, Any], where: str) -> str:
        topic = self._full(self._text(value.get("topic"), f"{where}.topic"))
        if topic not in self._types:
            raise self._wrong(f"{where}.topic", f"{topic} is not among `topics`{nearest(topic, self._types)}")
        return topic

    def _full(self, topic: str) -> str:
        return topic if topic.startswith("/") else f"{self._namespace}/{topic}"

    def _known(self, value: Mapping[str, Any], known: Sequence[str], where: str) -> None:
        for key in value:
            if key not in known:
                place = f"{where}.{key}" if where else str(key)
                raise self._wrong(place, f"is not known (known: {', '.join(known)}){nearest(str(key), known)}")

    def _mapping(self, value: Any, where: str) -> Mapping[str, Any]:
        return _mapping(value, f"{self._source}: {where}")

    def _list(self, value: Any, where: str) -> list[Any]:
        if not isinstance(value, list):
            raise self._wrong(where, f"is a list, got {value!r}")
        return cast("list[Any]", value)

    def _text(self, value: Any, where: str) -> str:
        if not isinstance(value, str):
            raise self._wrong(where, f"is a text, got {value!r}")
        return value

    def _truth(self, value: Any, where: str) -> bool:
        if not isinstance(value, bool):
            raise self._wrong(where, f"is true or false, got {value!r}")
        return value

    def _number(self, value: Any, where: str, above: float = -math.inf, least: float = -math.inf) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not above < value < math.inf or value < least:
            bound = f" above {above:g}" if above > -math.inf else ""
            raise self._wrong(where, f"is a number{bound}, got {value!r}")
        return float(value)

    def _wrong(self, where: str, why: str) -> LaminarError:
        return LaminarError(f"{self._source}: {where} {why}")


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise LaminarError(f"{where} holds `key: value` lines, got {value!r:.60}")
    return cast("Mapping[str, Any]", value)
