"""Frames: what was sent comes back, and no bytes do anything but be refused."""

from __future__ import annotations

from contextlib import suppress

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from laminar.deploy.wire import WireError, pack, unpack

numbers = st.sampled_from(["u1", "i2", "<i4", "<i8", "<f4", "<f8", ">f4", "?"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), values, max_size=4))
def test_plain_values_come_back(message: dict[str, object]) -> None:
    assert unpack(pack(message)) == message


@given(numbers.flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, min_side=0))))
def test_arrays_come_back(array: np.ndarray) -> None:
    found = unpack(pack({"nested": [{"array": array}]}))["nested"][0]["array"]
    native = array.astype(array.dtype.newbyteorder("="))
    assert found.dtype == native.dtype, "in the order of this machine"
    assert found.shape == array.shape
    assert found.tobytes() == native.tobytes()
    assert found.flags.writeable, "torch warns of arrays that are not"


def test_scalars_of_numpy_are_numbers() -> None:
    assert unpack(pack({"a": np.float32(0.5), "b": np.int64(-3)})) == {"a": 0.5, "b": -3}
    assert unpack(pack({"c": np.bool_(True)}))["c"] is True


def test_scalars_as_openpi_packs_them() -> None:
    packed = msgpack.packb({"n": {b"__npgeneric__": True, b"data": 0.25, b"dtype": "<f4"}})
    assert unpack(packed) == {"n": 0.25}


@pytest.mark.parametrize("value", [object(), {1, 2}, np.array(["text"]), np.array([None]), 2**70, 1j])
def test_nothing_else_is_sent(value: object) -> None:
    with pytest.raises(WireError, match="cannot be sent"):
        pack({"value": value})


def array_of(**changed: object) -> bytes:
    array = {b"__ndarray__": True, b"data": b"\0" * 8, b"dtype": "<f4", b"shape": [2]}
    return msgpack.packb({"a": array | {key.encode(): value for key, value in changed.items()}})


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        ("text", "a text frame"),
        (b"", "no message"),
        (b"\xc1", "no message"),
        (b"\x80\x04\x95\x0b\0\0\0\0\0\0\0}\x94\x8c\x01a\x94K\x01s.", "no message"),
        (msgpack.packb([1, 2]), "a message is a map, got list"),
        (msgpack.packb({1: 2}), "texts as keys"),
        (msgpack.packb({"a": msgpack.ExtType(5, b"x")}), "extension types are not taken"),
        (b"\x81" * 2000, "no message"),
        (b"\xdf\xff\xff\xff\xff", "no message"),
        (array_of(dtype="|O"), "dtype |O is not taken"),
        (array_of(dtype="f4,f4"), "is not taken"),
        (array_of(dtype="<U2"), "is not taken"),
        (array_of(dtype="banana"), "no array has the dtype"),
        (array_of(dtype=3), "lacks its data, dtype or shape"),
        (array_of(data="text"), "lacks its data"),
        (array_of(shape=[3]), "does not have 8 bytes"),
        (array_of(shape=[-1]), "cannot have the shape"),
        (array_of(shape=[2**40, 2**40]), "does not have 8 bytes"),
        (array_of(shape=[1] * 40), "cannot have the shape"),
        (array_of(shape=[2.0]), "cannot have the shape"),
    ],
)
def test_what_is_no_message(frame: bytes | str, told: str) -> None:
    with pytest.raises(WireError, match=told.replace("|", r"\|")) as found:
        unpack(frame)
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 300


@settings(max_examples=500)
@given(st.binary(max_size=200))
def test_any_bytes(frame: bytes) -> None:
    with suppress(WireError):
        assert all(isinstance(key, str) for key in unpack(frame))
