"""Messages as dictionaries: complete or refused by one line, and the same after both binary forms."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from laminar.data.robots.messages import Message, MessageError, Types, full_name, stamp_of, stamped

JOINTS, IMAGE = "sensor_msgs/msg/JointState", "sensor_msgs/msg/Image"
MANY, DOUBLE, SINGLE, TEXT = (f"std_msgs/msg/{name}" for name in ("Float64MultiArray", "Float64", "Float32", "String"))
OWN = """\
string<=5 word
float32[<=3] few
int8[] small
bool[] flags
byte[4] raw
string[<=2] words
float64[2] pair
Inner[2] inside
uint32 header
================================================================================
MSG: own/msg/Inner
string what
"""


@pytest.fixture(scope="module")
def own() -> Types:
    types = Types()
    types.add("own/Message", OWN)
    return types


def any_of(types: Types, description: tuple[Any, Any], rng: np.random.Generator) -> Any:
    """A random value of a field."""
    node, detail = description[0].name, description[1]
    if node == "NAME":
        return any_message(types, detail, rng)
    if node == "BASE":
        kind = detail[0]
        if kind == "string":
            return "".join(rng.choice(list("aß語 /"), rng.integers(5)))
        return bool(rng.integers(2)) if kind == "bool" else float(rng.integers(-9, 9)) if "float" in kind else 7
    (inner, element), length = detail
    count = length if node == "ARRAY" else int(rng.integers(3))
    if inner.name == "BASE" and element[0] != "string":
        return rng.integers(0, 2, count).tolist()
    return [any_of(types, (inner, element), rng) for _ in range(count)]


def any_message(types: Types, kind: str, rng: np.random.Generator) -> Message:
    """A random message; what stands for nothing in a type without fields stays 0."""
    return {name: any_of(types, one, rng) for name, one in types.fields(kind).items() if "at_least_one" not in name}


def same(one: Any, other: Any) -> None:
    """Check that two messages are the same, types of their arrays and all."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for name in one:
            same(one[name], other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            same(a, b)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


def test_every_type_is_the_same_after_both_binary_forms(types: Types) -> None:
    """Constants of a type, as BatteryState has them, once were fields of what was read; so were bytes with a sign."""
    rng = np.random.default_rng(0)
    kinds = [kind for kind in types.store.fielddefs if "/msg/" in kind]
    assert len(kinds) > 100
    for kind in kinds:
        message = types.complete(kind, any_message(types, kind, rng))
        same(types.from_cdr(kind, types.to_cdr(kind, message)), message)
        same(types.from_ros1(kind, types.to_ros1(kind, message)), message)
        same(types.complete(kind, message), message)
        same(types.complete(kind, {}), types.complete(kind, types.complete(kind, {})))


@pytest.mark.parametrize("kind", [JOINTS, IMAGE, TEXT])
def test_bytes_that_are_none_are_refused(types: Types, kind: str) -> None:
    rng = np.random.default_rng(1)
    whole = types.to_cdr(kind, types.complete(kind, any_message(types, kind, rng)))
    for size in range(len(whole) - 3):
        with pytest.raises(MessageError, match=rf"{size} bytes are no {kind}: "):
            types.from_cdr(kind, whole[:size])
    for _ in range(300):
        wrong = bytearray(whole)
        wrong[rng.integers(len(wrong))] = rng.integers(256)
        for read in (types.from_cdr, types.from_ros1):
            with suppress(MessageError):
                read(kind, bytes(wrong))


@pytest.mark.parametrize("kind", ["sensor_msgs/JointState", JOINTS])
def test_names_of_both_generations(kind: str) -> None:
    assert full_name(kind) == JOINTS
    assert full_name("std_srvs/srv/Trigger") == "std_srvs/srv/Trigger"


@pytest.mark.parametrize("kind", ["", "JointState", "/JointState", "a/", "a/b/c", "a/msg/b/c", "a/Joint State", "ä/B"])
def test_what_names_no_type(types: Types, kind: str) -> None:
    """A word alone once was a ValueError."""
    with pytest.raises(MessageError, match=r"names no type of message; write it as sensor_msgs/msg/JointState"):
        full_name(kind)
    with pytest.raises(MessageError, match=r"no type of message is called sensor_msgs/msg/JointStat.*did you mean"):
        types.complete("sensor_msgs/JointStat", {})


HUGE = 10**400
WRONG: list[tuple[str, Any, str]] = [
    (TEXT, {"dta": ""}, "has no field 'dta'; did you mean 'data'"),
    (TEXT, {"data": 3}, "is a text, got 3"),
    (TEXT, {"data": None}, "is a text, got None"),
    (TEXT, {"data": "\ud800"}, "half a character"),
    (TEXT, {1: "x"}, "has no field 1"),
    (DOUBLE, {"data": "3"}, "is a number, got '3'"),
    (DOUBLE, {"data": True}, "is a number, got True"),
    (DOUBLE, {"data": HUGE}, "float64, which cannot hold 1000"),
    (DOUBLE, {"data": 10**5000}, "cannot hold a very long int"),
    (SINGLE, {"data": 1e300}, r"float32, which cannot hold 1e\+300"),
    (MANY, {"data": [True, False]}, r"is a sequence of float64, got \[True, False\]"),
    (MANY, {"data": [1.5, True]}, r"is a sequence of float64, got \[1.5, True\]"),
    (MANY, {"data": [HUGE, 1.0]}, "is a sequence of float64, got"),
    (MANY, {"data": [[1.0], [2.0, 3.0]]}, "is a sequence of float64, got"),
    (MANY, {"data": np.zeros((2, 2))}, "is a sequence of float64, got"),
    (MANY, {"data": np.array([True])}, "is a sequence of float64, got"),
    (MANY, {"data": "AAAA"}, "is a sequence of float64, got 'AAAA'"),
    (MANY, {"data": b"12345678"}, "is an array of float64, got bytes"),
    (MANY, {"data": 1.0}, "is a sequence of float64, got 1.0"),
    ("std_msgs/msg/Float32MultiArray", {"data": [1e300]}, r"holds float32, .* got 1e\+300"),
    ("std_msgs/msg/Int8MultiArray", {"data": [200]}, "holds int8, -128 to 127, got 200 to 200"),
    ("std_msgs/msg/Int8MultiArray", {"data": [1.0]}, "is a sequence of int8, got"),
    ("std_msgs/msg/Int8", {"data": 200}, "is int8, -128 to 127, got 200"),
    ("std_msgs/msg/Bool", {"data": 2}, "is true or false, got 2"),
    ("std_msgs/msg/Bool", {"data": "true"}, "is true or false, got 'true'"),
    ("std_msgs/msg/Bool", {"data": np.array([1, 2])}, "is true or false, got array"),
    (IMAGE, {"data": "no base64!"}, "is no Base64"),
    (IMAGE, {"data": "ä"}, "is no Base64"),
    (JOINTS, {"name": "abc"}, "is a sequence, got 'abc'"),
    (JOINTS, {"name": [1]}, r"name\[0\] is a text, got 1"),
    (JOINTS, {"header": 3}, "is a std_msgs/msg/Header, a dictionary of its fields, got 3"),
    (JOINTS, {"header": {"stamp": {"sec": 2**31}}}, "header.stamp.sec is int32"),
    (JOINTS, [], "is a sensor_msgs/msg/JointState, a dictionary"),
    ("sensor_msgs/msg/Imu", {"orientation_covariance": [0.0] * 8}, "has 9 elements, got 8"),
    ("shape_msgs/msg/SolidPrimitive", {"dimensions": [1.0] * 4}, "at most 3 elements, got 4"),
]


@pytest.mark.parametrize(("kind", "message", "why"), WRONG)
def test_what_is_not_of_its_type_is_refused_by_one_line(types: Types, kind: str, message: Any, why: str) -> None:
    with pytest.raises(MessageError, match=why) as error:
        types.complete(kind, message)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200
    assert str(error.value).replace("…", "").isascii()


def test_what_json_makes_of_messages(types: Types) -> None:
    pixels = np.arange(6, dtype=np.uint8)
    assert types.complete(IMAGE, {"data": base64.b64encode(pixels.tobytes()).decode()})["data"].tolist() == [*range(6)]
    found = types.complete(MANY, {"data": [1, None, 2.5]})["data"]
    np.testing.assert_array_equal(found, [1.0, np.nan, 2.5])
    assert np.isnan(types.complete(DOUBLE, {"data": None})["data"])
    assert np.isinf(types.complete(SINGLE, {"data": float("inf")})["data"])
    assert types.complete("std_msgs/msg/Bool", {"data": 1})["data"] is True


def test_a_message_is_a_copy(types: Types) -> None:
    mine = np.zeros(2)
    found = types.complete(MANY, {"data": mine})
    mine[:] = 7.0
    assert found["data"].tolist() == [0.0, 0.0]


def test_bounds_of_own_types(own: Types) -> None:
    whole = own.complete("own/Message", {"small": b"\xff\x01", "flags": b"\x00\x01", "inside": [{"what": "ü"}, {}]})
    assert whole["small"].tolist() == [-1, 1], "bytes of numbers with a sign"
    assert whole["flags"].tolist() == [False, True]
    same(own.from_cdr("own/Message", own.to_cdr("own/Message", whole)), whole)
    for wrong, why in (
        ({"word": "ääß"}, "word has at most 5 bytes, got 6"),
        ({"few": [1, 2, 3, 4]}, "few has at most 3 elements, got 4"),
        ({"words": ["a"] * 3}, "words has at most 2 elements, got 3"),
        ({"pair": [1.0]}, "pair has 2 elements, got 1"),
        ({"inside": [{}]}, "inside has 2 elements, got 1"),
        ({"flags": [0, 2]}, "flags holds bool, 0 to 1, got 0 to 2"),
        ({"flags": b"\x02"}, "flags holds bool, 0 to 1, got 2 to 2"),
    ):
        with pytest.raises(MessageError, match=why):
            own.complete("own/Message", wrong)


def test_definitions_of_one_are_not_those_of_another(own: Types, types: Types) -> None:
    assert own.fields("own/Message")
    with pytest.raises(MessageError, match=r"no type of message is called own/msg/Message"):
        types.fields("own/Message")


def test_definitions_that_are_none() -> None:
    types = Types()
    with pytest.raises(MessageError, match=r"the definition of own/Nonsense cannot be read"):
        types.add("own/Nonsense", "no definition = 3 4\n%%")
    types.add("own/Snake", "Snake tail")
    with pytest.raises(MessageError, match=r"own/msg/Snake has a field that holds such a message itself"):
        types.complete("own/Snake", {})
    types.add("own/Open", "nowhere/Found x")
    with pytest.raises(MessageError, match=r"no type of message is called nowhere/msg/Found"):
        types.complete("own/Open", {})


@pytest.mark.parametrize("message", [{}, {"data": 3}, {"data": None}, {"data": "\ud800"}])
def test_only_complete_messages_are_written(types: Types, message: Message) -> None:
    for write in (types.to_cdr, types.to_ros1):
        with pytest.raises(MessageError, match=r"this is no complete std_msgs/msg/String"):
            write(TEXT, message)


@pytest.mark.parametrize("seconds", [0.5, 3.25, 1.7e9 + 0.125, -0.25, 1e-9, 0.9999999999])
def test_stamps(types: Types, seconds: float) -> None:
    message = types.complete(JOINTS, {"header": stamped(seconds)})
    assert 0 <= message["header"]["stamp"]["nanosec"] < 10**9
    assert stamp_of(message) == pytest.approx(seconds, abs=1.1e-9)


def test_messages_without_a_stamp(types: Types, own: Types) -> None:
    """A header of another type once was taken for one."""
    assert types.has_header(JOINTS)
    assert not types.has_header(TEXT)
    assert not own.has_header("own/Message")
    assert stamp_of(own.complete("own/Message", {"header": 3})) is None
    assert stamp_of(types.complete(TEXT, {})) is None
    assert stamp_of(types.complete(JOINTS, {})) is None, "one that was never filled"
