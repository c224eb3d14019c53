"""A robot's description from its YAML file; every word is understood, or refused with where it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ...errors import LaminarError, nearest
from ...machine import at_home
from .checking import check
from .content import Content
from .description import ANGLES, AXES, NAMED, TRAJECTORY, Camera, Output, Part, Robot, Watch
from .names import full_name, full_topic

FOLDER = Path(__file__).parents[2] / "configs" / "robot"
_DIALECTS = ("ros1", "ros2")
_ROLES = ("reset", "estop", "seed", "start", "success", "heartbeat", "instruction")
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
_PICTURES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_LIMITS = ("low", "high", "velocity", "acceleration")
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
    path = FOLDER / f"{name}.yaml" if str(name) in robot_names() else Path(at_home(str(name)))
    try:
        if not path.is_file():
            hint = nearest(str(name), robot_names())
            raise LaminarError(f"no robot is called '{name}' (known: {', '.join(robot_names())}), and no file is{hint}")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LaminarError(f"{path} cannot be read: {error}") from error
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
    robot = replace(_Reader(Content(text, source), name).robot(), text=text)
    check(robot)
    return robot


class _Reader:
    """One text while it is read; `where` is a place in it, for messages."""

    def __init__(self, content: Content, name: str) -> None:
        self._content, self._name = content, name
        self._namespace = ""
        self._types: dict[str, str] = {}

    def robot(self) -> Robot:
        content, top = self._content, self._content.top
        content.known(top, _TOP)
        for needed in ("rate_hz", "topics", "observation", "action"):
            if top.get(needed) in (None, {}, []):
                raise content.wrong(needed, "is missing")
        self._namespace = content.text(top.get("namespace", "/"), "namespace")
        self._types = self._topics(top["topics"])
        dialect = top.get("dialect", "ros2")
        if dialect not in _DIALECTS:
            raise content.wrong("dialect", f"is one of {', '.join(_DIALECTS)}, not {dialect!r}")
        shown = content.mapping(top["observation"], "observation")
        outputs = content.items(top["action"], "action")
        return Robot(
            name=content.text(top.get("name", self._name), "name"),
            dialect=dialect,
            rate_hz=content.number(top["rate_hz"], "rate_hz", above=0.0),
            types=self._types,
            observation={key: self._shown(value, f"observation.{key}") for key, value in shown.items()},
            action=tuple(self._output(one, f"action[{index}]") for index, one in enumerate(outputs)),
            units=self._units(top.get("units", {}), shown),
            watch=self._watch(top.get("watch", {})),
            namespace=self._namespace,
            simulator=content.text(top["simulator"], "simulator") if "simulator" in top else "",
            source=content.source,
            **{role: self._full(content.text(top[role], role), role) if role in top else "" for role in _ROLES},
        )

    def _topics(self, value: Any) -> dict[str, str]:
        found: dict[str, str] = {}
        for topic, kind in self._content.mapping(value, "topics").items():
            where = f"topics.{topic}"
            full = self._full(topic, where)
            if full in found:
                raise self._content.wrong(where, f"is {full}, which is there already")
            try:
                found[full] = full_name(self._content.text(kind, where))
            except LaminarError as error:
                raise self._content.wrong(where, str(error)) from error
        return found

    def _shown(self, value: Any, where: str) -> tuple[Part, ...] | Camera:
        if isinstance(value, Mapping):
            return self._camera(self._content.mapping(value, where), where)
        return tuple(
            self._part(one, f"{where}[{index}]") for index, one in enumerate(self._content.items(value, where))
        )

    def _camera(self, value: Mapping[str, Any], where: str) -> Camera:
        if "field" in value:
            raise self._content.wrong(where, "is a camera, or a list of parts: write `- ` in front of each part")
        self._content.known(value, ("topic", "size", "resize"), where)
        topic = self._topic(value, where)
        if self._types[topic] not in _PICTURES:
            raise self._content.wrong(f"{where}.topic", f"{topic} carries {self._types[topic]}, which is no picture")
        sizes = self._content.items(value.get("size"), f"{where}.size")
        if len(sizes) != 2:
            raise self._content.wrong(f"{where}.size", f"is height and width in pixels, got {sizes}")
        height, width = (self._content.whole(size, f"{where}.size") for size in sizes)
        return Camera(topic, height, width, self._content.truth(value.get("resize", False), f"{where}.resize"))

    def _part(self, value: Any, where: str) -> Part:
        value = self._content.mapping(value, where)
        self._content.known(value, [one.name for one in fields(Part)], where)
        scale = self._content.number(value.get("scale", 1.0), f"{where}.scale")
        if scale == 0:
            raise self._content.wrong(f"{where}.scale", "is 0, which makes everything 0")
        return Part(**self._numbers(value, where), scale=scale)

    def _numbers(self, value: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return what parts and outputs have in common: which numbers of which topic they are."""
        content, topic = self._content, self._topic(value, where)
        field = content.text(value.get("field"), f"{where}.field")
        euler = content.truth(value.get("euler", False), f"{where}.euler")
        if euler and self._types[topic] in NAMED:
            raise content.wrong(f"{where}.euler", f"{self._types[topic]} has no quaternions")
        names = self._names(value, self._usual(topic, field, euler), where)
        if euler and len(names) != len(ANGLES):
            raise content.wrong(f"{where}.names", f"roll, pitch and yaw are three, got {len(names)}")
        prefix = content.text(value["prefix"], f"{where}.prefix") if "prefix" in value else ""
        return {"topic": topic, "field": field, "names": names, "euler": euler, "prefix": prefix}

    def _usual(self, topic: str, field: str, euler: bool) -> Sequence[str]:
        """Return the names of numbers that go without saying."""
        last = field.rpartition(".")[2]
        if euler:
            return ANGLES
        if last in ("position", "linear", "angular") and self._types[topic] not in NAMED:
            return AXES[3]
        return AXES[4] if last == "orientation" else ()

    def _names(self, value: Mapping[str, Any], usual: Sequence[str], where: str) -> tuple[str, ...]:
        if "names" not in value and usual:
            return tuple(usual)
        where = f"{where}.names"
        names = [self._content.text(name, where) for name in self._content.items(value.get("names"), where)]
        if len({*names}) < len(names):
            raise self._content.wrong(where, f"are different texts, one a number, got {names}")
        return tuple(names)

    def _output(self, value: Any, where: str) -> Output:
        content, value = self._content, self._content.mapping(value, where)
        content.known(value, [one.name for one in fields(Output)], where)
        numbers = self._numbers(value, where)
        width, trajectory = len(numbers["names"]), self._types[numbers["topic"]] == TRAJECTORY
        rest = self._rest(value["rest"], width, f"{where}.rest") if "rest" in value else ()
        if ("measured" in value) == bool(rest) and None not in rest:
            raise content.wrong(
                where,
                "needs either `measured`, where its positions are read, or `rest`, what stops it; both for those that "
                f"`rest` says to {_KEEP}",
            )
        read = rest.count(None) if rest else width
        if "points" in value and not trajectory:
            raise content.wrong(f"{where}.points", f"are of a {TRAJECTORY}, and {numbers['topic']} carries none")
        limits: dict[str, Any] = {name: self._limits(value, name, width, f"{where}.{name}") for name in _LIMITS}
        return Output(
            **numbers,
            **limits,
            measured=self._measured(value, read, f"{where}.measured") if "measured" in value else (),
            rest=rest,
            frame=content.text(value["frame"], f"{where}.frame") if "frame" in value else "",
            points=content.whole(value.get("points", 3), f"{where}.points"),
        )

    def _measured(self, value: Mapping[str, Any], width: int, where: str) -> tuple[Part, ...]:
        parts = self._content.items(value["measured"], where)
        measured = tuple(self._part(one, f"{where}[{index}]") for index, one in enumerate(parts))
        if sum(part.width for part in measured) != width:
            raise self._content.wrong(where, f"has {sum(part.width for part in measured)} numbers for {width}")
        return measured

    def _rest(self, value: Any, width: int, where: str) -> tuple[float | None, ...]:
        values = self._content.each(value, width, where)
        return tuple(None if one == _KEEP else self._content.number(one, where) for one in values)

    def _limits(self, value: Mapping[str, Any], name: str, width: int, where: str) -> tuple[float, ...]:
        if name not in value:
            return ()
        above = 0.0 if name in ("velocity", "acceleration") else -float("inf")
        return tuple(self._content.number(one, where, above) for one in self._content.each(value[name], width, where))

    def _units(self, value: Any, shown: Mapping[str, Any]) -> dict[str, str]:
        units = self._content.mapping(value, "units")
        self._content.known(units, [*shown, "action"], "units")
        return {key: self._content.text(unit, f"units.{key}") for key, unit in units.items()}

    def _watch(self, value: Any) -> Watch:
        value = self._content.mapping(value, "watch")
        self._content.known(value, [one.name for one in fields(Watch)], "watch")
        return Watch(**{name: self._content.number(one, f"watch.{name}", above=0.0) for name, one in value.items()})

    def _topic(self, value: Mapping[str, Any], where: str) -> str:
        topic = self._full(self._content.text(value.get("topic"), f"{where}.topic"), f"{where}.topic")
        if topic not in self._types:
            raise self._content.wrong(f"{where}.topic", f"{topic} is not among `topics`{nearest(topic, self._types)}")
        return topic

    def _full(self, topic: str, where: str) -> str:
        try:
            return full_topic(topic, self._namespace)
        except LaminarError as error:
            raise self._content.wrong(where, str(error)) from error
