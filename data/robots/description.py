"""A robot in one file: what it shows, what moves it, and within which limits; for recording, training and deploying.

robot = load_robot("playroom")          # configs/robot/playroom.yaml, or the path of any file
robot.spec                              # what a policy has to fit
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ...errors import LaminarError, nearest
from ..spec import Feature, Spec

AXES = {3: ("x", "y", "z"), 4: ("x", "y", "z", "w")}
"""Names of the numbers of a vector and of a quaternion."""
ANGLES = ("roll", "pitch", "yaw")
NAMED = ("sensor_msgs/msg/JointState", "trajectory_msgs/msg/JointTrajectory")
"""Types whose messages have names of their own, by which numbers are found."""
TRAJECTORY = NAMED[1]


def axes_of(names: tuple[str, ...], axes: Sequence[str]) -> tuple[str, ...]:
    """Return which axes of a vector numbers are: those that they are called like, else one after the other."""
    return names if {*names} == {*axes} else tuple(axes)


@dataclass(frozen=True)
class Part:
    """Some numbers of a message.

    Attributes:
        topic: whose messages have them.
        field: where, with dots: "position", "pose.orientation", "data".
        names: of the numbers. In a message with names of its own (JointState, JointTrajectory) they are found by them,
            and in a vector or a quaternion where they are x, y, z, w.
        euler: the field is a quaternion, and the numbers are its fixed-axis roll, pitch and yaw in radians.
        scale: what they are multiplied by, such as 0.0174533 for degrees.
        prefix: in front of the names for people, such as "left_" where two arms have joints of the same names.
    """

    topic: str
    field: str
    names: tuple[str, ...]
    euler: bool = False
    scale: float = 1.0
    prefix: str = ""

    @property
    def width(self) -> int:
        """How many they are."""
        return len(self.names)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names for people."""
        return tuple(f"{self.prefix}{name}" for name in self.names)


@dataclass(frozen=True)
class Camera:
    """A picture of a topic, Image or CompressedImage.

    Attributes:
        topic: whose messages are pictures.
        height, width: in pixels, of what is recorded and, without `resize`, of what a policy sees.
        resize: whether pictures of another size are resized, to that which a policy was trained on; else they are
            refused.
    """

    topic: str
    height: int
    width: int
    resize: bool = False


@dataclass(frozen=True)
class Output:
    """What a topic is told of an action.

    Attributes:
        topic: its name.
        field: where in its message the numbers go, as in `Part`.
        names: of the numbers, in the order of the action.
        measured: where they can be read, for numbers that are positions; () for those that are changes or velocities.
            Beside `rest`, where those that are kept can be: what is kept before the first command.
        rest: of numbers that are no positions, what brings the robot to rest; None keeps the last one, as a gripper
            does.
        low, high: limits of each.
        velocity, acceleration: how fast each may change, in units a second and a second squared.
        euler: the numbers are roll, pitch and yaw, and the field is a quaternion.
        frame: `frame_id` of its header.
        points: of a JointTrajectory, one a control period: what is planned beyond the first bridges a late one.
        prefix: as in `Part`.
    """

    topic: str
    field: str
    names: tuple[str, ...]
    measured: tuple[Part, ...] = ()
    rest: tuple[float | None, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    velocity: tuple[float, ...] = ()
    acceleration: tuple[float, ...] = ()
    euler: bool = False
    frame: str = ""
    points: int = 3
    prefix: str = ""

    @property
    def width(self) -> int:
        """How many they are."""
        return len(self.names)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names for people."""
        return self.part.labels

    @property
    def positions(self) -> bool:
        """Whether they rest where they are measured."""
        return bool(self.measured) and not self.rest

    @property
    def part(self) -> Part:
        """Its numbers as they are read from a message."""
        return Part(self.topic, self.field, self.names, self.euler, prefix=self.prefix)


@dataclass(frozen=True)
class Watch:
    """Seconds after which something is missed.

    Attributes:
        arrival: since the last message of each topic came.
        stamp: since the moment that its stamp names.
        actions: since the policy's last chunk, while it runs.
        transport: without a connection.
        heartbeat: since the last message of `Robot.heartbeat`, where there is one.
    """

    arrival: float = 0.25
    stamp: float = 0.25
    actions: float = 0.5
    transport: float = 0.25
    heartbeat: float = 0.5


@dataclass(frozen=True)
class Robot:
    """One robot.

    Attributes:
        name: of the robot.
        dialect: "ros1" or "ros2", what its bridge writes.
        rate_hz: control periods a second.
        types: topic -> type of its messages; topics have their full names here.
        observation: key -> parts, one after the other, or a camera.
        units: key, or "action", -> unit, as in `Feature`.
        action: outputs, one after the other.
        watch: watchdogs.
        reset, estop, seed, start, success, heartbeat, instruction: topics and services by these roles; "" where there
            is none.
        namespace: of names without a leading slash, such as "/arm": those of laminar's own services too.
        simulator: id of an environment that shows the same, for `laminar simulate`; "" where there is none.
        source: the file, for messages.
        text: of the file, which a recording takes along.
    """

    name: str
    dialect: str
    rate_hz: float
    types: Mapping[str, str]
    observation: Mapping[str, tuple[Part, ...] | Camera]
    action: tuple[Output, ...]
    units: Mapping[str, str] = field(default_factory=lambda: {})
    watch: Watch = Watch()
    reset: str = ""
    estop: str = ""
    seed: str = ""
    start: str = ""
    success: str = ""
    heartbeat: str = ""
    instruction: str = ""
    namespace: str = ""
    simulator: str = ""
    source: str = ""
    text: str = field(default="", repr=False, compare=False)

    @property
    def action_names(self) -> tuple[str, ...]:
        """Names of all numbers of an action, for people."""
        return tuple(name for output in self.action for name in output.labels)

    @property
    def spec(self) -> Spec:
        """Keys, shapes, names, units, limits and rate, as a policy's."""
        features: dict[str, Feature] = {}
        for key, shown in self.observation.items():
            unit = self.units.get(key, "")
            if isinstance(shown, Camera):
                features[key] = Feature((shown.height, shown.width, 3), "uint8", unit)
            else:
                names = tuple(name for part in shown for name in part.labels)
                features[key] = Feature((len(names),), "float32", unit, names)
        low, high = (tuple(x for output in self.action for x in limit(output)) for limit in (_low, _high))
        names = self.action_names
        action = Feature((len(names),), unit=self.units.get("action", ""), names=names)
        bounded = all(abs(x) != float("inf") for x in (*low, *high))
        return Spec(features, action, low if bounded else None, high if bounded else None, rate_hz=self.rate_hz)

    def fitting(self, spec: Spec, whose: str = "the policy") -> Robot:
        """Return the robot with the observations that a policy sees, in its order, cameras that resize at its sizes.

        Args:
            spec: the policy's.
            whose: it is, for messages.

        Raises:
            LaminarError: a key, width, unit, name or the rate differs; names both sides.
        """
        missing = [key for key in spec.observation if key not in self.observation]
        if missing:
            raise LaminarError(
                f"{whose} sees '{missing[0]}', which robot {self.name} does not show (it shows "
                f"{sorted(self.observation)}){nearest(missing[0], self.observation)}; add it to {self.source}"
            )
        shown = {key: _sized(self.observation[key], seen.shape) for key, seen in spec.observation.items()}
        fit = replace(self, observation=shown)
        self._check_pictures(fit, spec, whose)
        spec.check_compatible(fit.spec, whose, f"robot {self.name}")
        pairs = [(f"observation '{key}'", spec.observation[key], fit.spec.observation[key]) for key in spec.observation]
        for what, mine, its in [*pairs, ("action", spec.action, fit.spec.action)]:
            if mine.names and its.names and mine.names != its.names:
                raise LaminarError(
                    f"{what} is {', '.join(mine.names)} for {whose} and {', '.join(its.names)} for robot "
                    f"{self.name}; write the names in {self.source} in the same order"
                )
        return fit

    def _check_pictures(self, fit: Robot, spec: Spec, whose: str) -> None:
        for key, shown in fit.observation.items():
            size = spec.observation[key].shape
            if isinstance(shown, Camera) and len(size) == 3 and size[:2] != (shown.height, shown.width):
                raise LaminarError(
                    f"pictures '{key}' are {size[0]} x {size[1]} for {whose} and {shown.height} x {shown.width} for "
                    f"robot {self.name}; give the camera `resize: true`, or another size, in {self.source}"
                )

    def parts(self) -> Iterator[Part]:
        """Yield all parts that are read, those of measured commands too."""
        for shown in self.observation.values():
            if not isinstance(shown, Camera):
                yield from shown
        for output in self.action:
            yield from output.measured

    def read_topics(self) -> list[str]:
        """Return the topics that observations and measured commands come from, sorted."""
        cameras = {shown.topic for shown in self.observation.values() if isinstance(shown, Camera)}
        return sorted({part.topic for part in self.parts()} | cameras)

    def seen_topics(self) -> list[str]:
        """Return the topics that observations come from, sorted."""
        shown = self.observation.values()
        cameras = {one.topic for one in shown if isinstance(one, Camera)}
        return sorted({part.topic for one in shown if not isinstance(one, Camera) for part in one} | cameras)

    def command_topics(self) -> list[str]:
        """Return the topics that an action is told to, in its order."""
        return list(dict.fromkeys(output.topic for output in self.action))


def _sized(shown: tuple[Part, ...] | Camera, shape: tuple[int, ...]) -> tuple[Part, ...] | Camera:
    """Return a camera that resizes at the size of pictures of this shape, anything else as it is."""
    if isinstance(shown, Camera) and shown.resize and len(shape) == 3:
        return replace(shown, height=shape[0], width=shape[1])
    return shown


def _low(output: Output) -> Iterable[float]:
    return output.low or [-float("inf")] * output.width


def _high(output: Output) -> Iterable[float]:
    return output.high or [float("inf")] * output.width
