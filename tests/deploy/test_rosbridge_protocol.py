"""Frames and the names in them: what was sent comes back, and nothing else is taken for it."""

from __future__ import annotations

import json
from typing import Any

import cbor2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminar.data.robots.messages import MessageError, Types
from laminar.deploy.rosbridge import protocol
from laminar.deploy.rosbridge.dialect import Dialect
from laminar.deploy.rosbridge.protocol import Fragments, ProtocolError
from laminar.errors import LaminarError

TYPES = Types()
STATE, COMMAND = "sensor_msgs/msg/JointState", "trajectory_msgs/msg/JointTrajectory"
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


class TestFrames:
    @given(st.dictionaries(st.text().filter(lambda key: key != "op"), values, max_size=4))
    def test_plain_values_come_back(self, fields: dict[str, Any]) -> None:
        finite = json.loads(json.dumps(fields, default=str)) == fields and "Infinity" not in json.dumps(fields)
        if finite:
            assert protocol.read(protocol.write("publish", fields)) == {"op": "publish", **fields}
        assert protocol.read(protocol.write_cbor("publish", fields)) == {"op": "publish", **fields}

    @pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", ">f8", "?"])
    def test_arrays_in_cbor(self, dtype: str) -> None:
        array = np.array([0, 1, 100], dtype)
        found = protocol.read(protocol.write_cbor("publish", {"msg": {"data": [array]}}))["msg"]["data"][0]
        assert np.array_equal(np.frombuffer(found, "u1") if dtype == "u1" else found, array)

    def test_typed_arrays_are_little_endian(self) -> None:
        """Bytes as RFC 8746 has them, not as our own writer does."""
        raw = cbor2.dumps({"op": "publish", "msg": cbor2.CBORTag(85, b"\x00\x00\x80\x3f\x00\x00\x00\xc0")})
        found = protocol.read(raw)["msg"]
        assert found.dtype == np.float32
        assert found.tolist() == [1.0, -2.0]

    def test_what_is_not_finite(self) -> None:
        for wrong in (float("nan"), np.array([1.0, np.inf]), [{"x": float("-inf")}]):
            with pytest.raises(ProtocolError, match="/arm: a number is not finite"):
                protocol.write("publish", {"topic": "/arm", "msg": {"x": wrong}})
        text = protocol.write("publish", {"msg": {"x": np.array([1.0, np.nan])}}, nan="null")
        assert json.loads(text)["msg"]["x"] == [1.0, None]

    @pytest.mark.parametrize(
        "raw",
        [
            "",
            "{",
            "[]",
            "7",
            '{"no": "op"}',
            '{"op": 3}',
            "[" * 100_000,
            "1" * 5000,
            b"",
            b"\xff",
            b"\x81" * 10_000,
            b"\xbb" + b"\xff" * 8,
            cbor2.dumps({"op": "publish", "msg": cbor2.CBORTag(86, b"\0\0\0")}),
            cbor2.dumps({"op": "publish", "msg": cbor2.CBORTag(86, "text")}),
            cbor2.dumps({"op": "publish", "msg": cbor2.CBORTag(1040, b"")}),
        ],
        ids=range(15),
    )
    def test_what_is_no_frame(self, raw: str | bytes) -> None:
        with pytest.raises(ProtocolError) as error:
            protocol.read(raw)
        assert len(str(error.value)) < 300
        assert "\n" not in str(error.value)

    def test_what_cannot_be_sent(self) -> None:
        with pytest.raises(ProtocolError, match="cannot be sent"):
            protocol.write("call_service", {"service": "/it", "args": {"x": {1, 2}}})


class TestFragments:
    def test_any_order_and_mixed(self) -> None:
        texts = [protocol.write("publish", {"topic": f"/{i}", "msg": {"data": "x" * 50}}) for i in range(2)]
        pieces = [protocol.fragments(text, 20, number) for number, text in enumerate(texts)]
        fragments, found = Fragments(), []
        for both in zip(*(reversed(piece) for piece in pieces), strict=True):
            found += [fragments.add(protocol.read(one)) for one in both]
        assert [one["topic"] for one in found if one is not None] == ["/0", "/1"]
        assert protocol.fragments("short", 20, 0) == ["short"]

    def test_they_are_bounded(self) -> None:
        fragments = Fragments(most=1000)
        piece = {"op": "fragment", "id": "1", "data": "x" * 50, "total": 200}
        for number in range(20):
            assert fragments.add({**piece, "num": number}) is None
        with pytest.raises(ProtocolError, match="more than 1000 characters"):
            fragments.add({**piece, "num": 20})
        with pytest.raises(ProtocolError, match="more than 1000"):
            fragments.add({"op": "fragment", "id": "1", "data": "x", "num": 0, "total": 10**8})
        for number in range(100):
            fragments.add({"op": "fragment", "id": str(number), "data": "x", "num": 0, "total": 2})
        assert len(fragments._parts) <= 16

    @pytest.mark.parametrize(
        "wrong",
        [{"data": 3}, {"num": 2}, {"num": -1}, {"total": "2"}, {"num": None}, {"data": None}, {"total": 0}],
    )
    def test_what_is_none(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ProtocolError):
            Fragments().add({"op": "fragment", "id": 1, "data": "x", "num": 0, "total": 2, **wrong})

    def test_fragments_of_fragments(self) -> None:
        inner = protocol.fragments("y" * 100, 60, 1)[0]
        *pieces, last = [protocol.read(one) for one in protocol.fragments(inner, 60, 2)]
        fragments = Fragments()
        assert not any(fragments.add(piece) for piece in pieces)
        with pytest.raises(ProtocolError, match="fragment of fragments"):
            fragments.add(last)


def filled() -> dict[str, Any]:
    return TYPES.complete(
        COMMAND,
        {
            "header": {"stamp": {"sec": 3, "nanosec": 4}, "frame_id": "base"},
            "points": [{"positions": [1.0], "time_from_start": {"sec": 1, "nanosec": 2}}],
        },
    )


class TestDialects:
    def test_ros1(self) -> None:
        written = Dialect("ros1", TYPES).write(COMMAND, filled())
        assert written["header"] == {"seq": 0, "stamp": {"secs": 3, "nsecs": 4}, "frame_id": "base"}
        assert written["points"][0]["time_from_start"] == {"secs": 1, "nsecs": 2}

    def test_ros2(self) -> None:
        written = Dialect("ros2", TYPES).write(COMMAND, filled())
        assert written["header"] == {"stamp": {"sec": 3, "nanosec": 4}, "frame_id": "base"}
        assert written["points"][0]["time_from_start"] == {"sec": 1, "nanosec": 2}

    @pytest.mark.parametrize("name", ["ros1", "ros2"])
    def test_both_ways(self, name: str) -> None:
        dialect = Dialect(name, TYPES)
        for kind, message in (
            (COMMAND, filled()),
            ("sensor_msgs/CameraInfo", TYPES.complete("sensor_msgs/CameraInfo", {"k": np.arange(9.0), "d": [1.0]})),
            ("tf2_msgs/msg/TFMessage", {"transforms": []}),
            ("std_msgs/msg/Empty", TYPES.complete("std_msgs/msg/Empty", {})),
        ):
            if kind.startswith("tf2") and "tf2_msgs/msg/TFMessage" not in TYPES.store.fielddefs:
                continue
            found = TYPES.complete(kind, dialect.read(kind, dialect.write(kind, message)))
            assert str(found) == str(message)
            assert str(dialect.from_binary(kind, dialect.to_binary(kind, message))) == str(message)

    def test_names(self) -> None:
        one, two = Dialect("ros1", TYPES), Dialect("ros2", TYPES)
        for kind in ("sensor_msgs/JointState", STATE):
            assert (one.kind(kind), two.kind(kind)) == ("sensor_msgs/JointState", STATE)
        for kind in ("std_srvs/Trigger", "std_srvs/srv/Trigger"):
            assert (one.service(kind), two.service(kind)) == ("std_srvs/Trigger", "std_srvs/srv/Trigger")
        for wrong in ("Trigger", "std_srvs/msg/Trigger", "/x", "a/b/c/d"):
            with pytest.raises(MessageError, match="names no type of service"):
                one.service(wrong)
        assert "D" in one.write("sensor_msgs/CameraInfo", TYPES.complete("sensor_msgs/CameraInfo", {}))
        assert "d" in two.write("sensor_msgs/CameraInfo", TYPES.complete("sensor_msgs/CameraInfo", {}))
        assert two.write("std_msgs/Empty", TYPES.complete("std_msgs/Empty", {})) == {}

    def test_a_robots_own_field_keeps_its_name(self) -> None:
        types = Types()
        types.add("mine/msg/Clock", "int32 secs\nuint32 nsecs\nuint32 seq\nbuiltin_interfaces/Time stamp\n")
        message = types.complete("mine/Clock", {"secs": 5, "nsecs": 6, "seq": 7, "stamp": {"sec": 8}})
        for name, stamp in (("ros1", {"secs": 8, "nsecs": 0}), ("ros2", {"sec": 8, "nanosec": 0})):
            dialect = Dialect(name, types)
            written = dialect.write("mine/Clock", message)
            assert written == {"secs": 5, "nsecs": 6, "seq": 7, "stamp": stamp}
            assert types.complete("mine/Clock", dialect.read("mine/Clock", written)) == message

    @pytest.mark.parametrize(("mine", "theirs"), [("ros1", "ros2"), ("ros2", "ros1")])
    def test_the_other_one_is_refused(self, mine: str, theirs: str) -> None:
        one, other = Dialect(mine, TYPES), Dialect(theirs, TYPES)
        with pytest.raises(MessageError, match=f"as {theirs} has it, and this is {mine}; choose dialect={theirs}"):
            one.read(COMMAND, other.write(COMMAND, filled()))
        only = {"header": {"frame_id": ""}, "points": [other.write(COMMAND, filled())["points"][0]]}
        with pytest.raises(MessageError, match="a duration has"):
            one.read(COMMAND, only)

    @pytest.mark.parametrize("frame", ["", "base", "cam"])
    @pytest.mark.parametrize("seq", [0, 1, 7, 255])
    def test_bytes_of_the_other_one_are_refused(self, frame: str, seq: int) -> None:
        one, two = Dialect("ros1", TYPES), Dialect("ros2", TYPES)
        state = {"header": {"frame_id": frame, "stamp": {"sec": 1}}, "name": ["abc"], "position": [1.0]}
        message = TYPES.complete(STATE, state)
        with pytest.raises(MessageError):
            one.from_binary(STATE, two.to_binary(STATE, message))
        raw = seq.to_bytes(4, "little") + one.to_binary(STATE, message)[4:]
        assert str(one.from_binary(STATE, raw)) == str(message)
        with pytest.raises(MessageError):
            two.from_binary(STATE, raw)

    def test_parts_of_services(self) -> None:
        types = Types()
        types.add("mine/msg/Plan_Request", "builtin_interfaces/Time start\n")
        dialect = Dialect("ros1", types)
        assert dialect.write_part("mine/Plan", "Request", {"start": {"sec": 1}}) == {"start": {"secs": 1, "nsecs": 0}}
        found = dialect.read_part("mine/Plan", "Request", {"start": {"secs": 1, "nsecs": 0}})
        assert found == {"start": {"sec": 1, "nanosec": 0}}
        assert dialect.read_part("mine/Plan", "Response", {"secs": 1}) == {"secs": 1}

    def test_there_are_two(self) -> None:
        with pytest.raises(LaminarError, match="dialect='ros3' must be one of ros1, ros2"):
            Dialect("ros3", TYPES)

    @given(values)
    def test_anything_else_is_left_to_the_types(self, value: Any) -> None:
        for name in ("ros1", "ros2"):
            try:
                TYPES.complete(COMMAND, Dialect(name, TYPES).read(COMMAND, value))
            except MessageError:
                continue
