"""What the real rosbridge does, watched and numbered; the gateway does so too, or as the protocol says."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cbor2
import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from laminar.data.robots.messages import Types
from laminar.deploy.rosbridge import Gateway, Quirks, Rosbridge, Settings
from laminar.deploy.transports.loopback import Bus, Loopback
from laminar.errors import LaminarError

TYPES = Types()
STATE, FLAG, NUMBER = "sensor_msgs/msg/JointState", "std_msgs/msg/Bool", "std_msgs/msg/Float64"
WRONG = [
    "no json",
    '{"no": "op"}',
    '{"op": "dance"}',
    '{"op": "send_action_goal", "id": "1", "action": "/go", "action_type": "x/Y", "args": {}}',  # of ROS 2 only
    '{"op": "advertise", "topic": "/flag", "type": "no_msgs/Such"}',
    '{"op": "advertise", "topic": "/state", "type": "std_msgs/Bool"}',  # which carries something else
    '{"op": "publish", "topic": "/nobody", "msg": {}}',  # not advertised
    '{"op": "publish", "topic": "/state", "msg": {"speed": 1}}',
    '{"op": "publish", "topic": "/state", "msg": {"position": ["one"]}}',
    '{"op": "publish", "topic": "/state", "msg": {"position": [null]}}',
    '{"op": "publish", "topic": "/state", "msg": {"header": {"stamp": {"sec": 1, "nanosec": 0}}}}',  # ROS 2's names
    '{"op": "subscribe", "topic": "/unknown"}',  # neither type nor topic
    '{"op": "subscribe", "topic": "/state", "compression": "zip"}',
    '{"op": "unsubscribe", "topic": "/state"}',
    '{"op": "service_response", "id": "nobodys", "service": "/x", "values": {}, "result": true}',
]


class Raw:
    """A client that sends what it likes."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def send(self, op: str, **fields: Any) -> None:
        self.connection.send(json.dumps({"op": op, **fields}))

    def next(self, timeout: float = 5) -> Any:
        raw = self.connection.recv(timeout=timeout)
        return json.loads(raw) if isinstance(raw, str) else cbor2.loads(raw)

    def settle(self) -> list[Any]:
        """Wait until everything sent so far was handled, and return what came meanwhile."""
        self.send("call_service", id="settle", service="/rosapi/get_time")
        came = []
        while (frame := self.next()).get("id") != "settle":
            came.append(frame)
        return came


class Scene:
    """A robot on a bus behind a gateway."""

    def __init__(self, dialect: str = "ros1", **quirks: Any) -> None:
        self.bus = Bus(types=TYPES)
        self.robot = Loopback(self.bus)
        self.robot.open()
        self.seen: list[dict[str, Any]] = []
        self.robot.subscribe("/state", STATE, lambda message, arrival: self.seen.append(message))
        self.gateway = Gateway(Loopback(self.bus), TYPES, dialect=dialect, quirks=Quirks(**quirks))

    def state(self, **fields: Any) -> None:
        self.robot.publish("/state", STATE, fields)


@contextmanager
def served(dialect: str = "ros1", **quirks: Any) -> Iterator[tuple[Scene, Raw]]:
    scene = Scene(dialect, **quirks)
    with scene.gateway, connect(scene.gateway.url, compression=None, max_size=None) as connection:
        raw = Raw(connection)
        raw.send("advertise", topic="/state", type="sensor_msgs/JointState")
        yield scene, raw


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


class TestErrors:
    @pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
    def test_no_error_reaches_a_client(self, wrong: str) -> None:
        with served() as (scene, raw):
            raw.connection.send(wrong)
            assert raw.settle() == []
            assert (scene.gateway.refused, scene.seen) == (1, [])
            assert scene.gateway.last_refusal
            raw.send("publish", topic="/state", msg={"position": [1.0]})
            raw.settle()
            assert len(scene.seen) == 1, "the next frame is served"

    @pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
    def test_unless_the_protocol_is_followed(self, wrong: str) -> None:
        with served(silent_errors=False) as (scene, raw):
            raw.connection.send(wrong)
            (status,) = raw.settle()
            assert (status["op"], status["level"]) == ("status", "error")
            assert status["msg"] == scene.gateway.last_refusal

    def test_a_failed_call_does_come_back(self) -> None:
        with served() as (_, raw):
            raw.send("call_service", id="7", service="/nothing", args={})
            answer = raw.next()
            assert (answer["op"], answer["id"], answer["result"]) == ("service_response", "7", False)
            assert "no service is called /nothing" in answer["values"]

    def test_ops_that_do_nothing(self) -> None:
        with served(silent_errors=False) as (_, raw):
            raw.send("set_level", level="info")
            assert raw.settle() == []

    def test_a_thousand_malformed_frames(self) -> None:
        draw = random.Random(0)
        good = [json.dumps({"op": "publish", "topic": "/state", "msg": {"position": [1.5], "name": ["a"]}}), *WRONG]
        with served() as (scene, raw):
            for _ in range(1000):
                frame = bytearray(draw.choice(good).encode())
                for _ in range(draw.randrange(1, 6)):
                    frame[draw.randrange(len(frame))] = draw.randrange(32, 127)
                whole = bytes(frame[: draw.randrange(1, len(frame) + 1)])
                raw.connection.send(whole if draw.random() < 0.3 else whole.decode())
            raw.settle()
            before = len(scene.seen)
            raw.send("advertise", topic="/fine", type="std_msgs/Bool")
            raw.send("publish", topic="/state", msg={"position": [2.0]})
            raw.settle()
            assert len(scene.seen) == before + 1
            assert scene.gateway.refused > 500


class TestValues:
    def test_cbor_loses_sequences_of_texts(self) -> None:
        """Quirk 1: of ROS 1 alone; pictures go through."""
        for dialect, drops, arrives in (("ros1", True, False), ("ros1", False, True), ("ros2", True, True)):
            with served(dialect, cbor_drops_string_arrays=drops) as (scene, raw):
                raw.send("subscribe", topic="/state", compression="cbor")
                raw.send("subscribe", topic="/image", type="sensor_msgs/Image", compression="cbor")
                raw.settle()
                scene.state(name=["elbow"], position=[1.0])
                scene.robot.publish("/image", "sensor_msgs/msg/Image", {"data": b"\1\2"})
                came = [raw.next() for _ in range(1 + arrives)]
                assert [one["topic"] for one in came] == ["/state", "/image"][1 - arrives :]
                assert came[-1]["msg"]["data"] == b"\1\2"
                if arrives:
                    assert came[0]["msg"]["position"] == cbor2.CBORTag(86, np.array([1.0]).tobytes())

    def test_what_is_not_finite(self) -> None:
        """Quirk 4: NaN goes in, null comes out, and null does not go in; cbor-raw keeps it."""
        with served() as (scene, raw):
            raw.send("subscribe", topic="/state")
            raw.connection.send('{"op": "publish", "topic": "/state", "msg": {"position": [NaN, Infinity, 1.0]}}')
            assert raw.next()["msg"]["position"] == [None, None, 1.0]
            assert np.isnan(scene.seen[0]["position"][0])
            raw.send("publish", topic="/state", msg={"position": [None]})
            assert raw.settle() == []
            raw.send("subscribe", topic="/state", compression="cbor-raw")
            raw.settle()
            scene.state(position=[float("nan")])
            found = TYPES.from_ros1(STATE, raw.next()["msg"]["bytes"])
            assert np.isnan(found["position"]).all()
        with served(null_for_nan=False) as (scene, raw):
            raw.send("subscribe", topic="/state")
            raw.settle()
            scene.state(position=[float("nan")])
            assert "[NaN]" in raw.connection.recv(timeout=5)

    def test_a_stamp_that_was_left_out(self) -> None:
        """Quirk 5: it is 0, though the protocol says now."""
        for zero in (True, False):
            with served(zero_stamps=zero) as (scene, raw):
                raw.send("publish", topic="/state", msg={"name": ["elbow"]})
                raw.settle()
                assert (scene.seen[0]["header"]["stamp"]["sec"] == 0) is zero

    def test_names_of_types_tell_no_version(self) -> None:
        """Quirk 9."""
        with served("ros1") as (scene, raw):
            raw.send("advertise", topic="/state", type=STATE)
            raw.send("publish", topic="/state", msg={})
            raw.settle()
            assert (len(scene.seen), scene.gateway.refused) == (1, 0)

    def test_in_its_dialect(self) -> None:
        for dialect, stamp in (("ros1", {"secs": 5, "nsecs": 6}), ("ros2", {"sec": 5, "nanosec": 6})):
            with served(dialect) as (scene, raw):
                raw.send("subscribe", topic="/state")
                raw.settle()
                scene.state(header={"stamp": {"sec": 5, "nanosec": 6}})
                header = raw.next()["msg"]["header"]
                assert header["stamp"] == stamp
                assert ("seq" in header) is (dialect == "ros1")


class TestReading:
    @pytest.mark.parametrize(("queue", "least", "most"), [(0, 4, 9), (1, 5, 9), (5, 9, 14)])
    def test_throttled(self, queue: int, least: int, most: int) -> None:
        """Of 40 messages in 0.2 s, at most one each 40 ms; those that wait come afterwards, and are old."""
        with served() as (scene, raw):
            raw.send("subscribe", topic="/state", throttle_rate=40, queue_length=queue)
            raw.settle()
            for number in range(40):
                scene.state(position=[float(number)])
                time.sleep(0.005)
            came = []
            while True:
                try:
                    came.append(raw.next(timeout=0.3)["msg"]["position"][0])
                except TimeoutError:
                    break
            assert came == sorted(came)
            assert least <= len(came) <= most

    def test_a_client_that_reads_late_gets_all_of_it(self) -> None:
        """Quirk 6: `queue_length` bounds no age, as what was sent waits in buffers."""
        counts = {}
        for backlog in (True, False):
            with served(backlog=backlog) as (scene, raw):
                raw.send("subscribe", topic="/image", type="sensor_msgs/Image", compression="cbor", queue_length=1)
                raw.settle()
                for number in range(100):
                    picture = {"height": number, "data": np.zeros(200_000, np.uint8)}
                    scene.robot.publish("/image", "sensor_msgs/msg/Image", picture)
                raw.send("call_service", id="settle", service="/rosapi/get_time")
                came = []
                while not came or came[-1] != 99:
                    frame = raw.next()
                    came += [frame["msg"]["height"]] if frame["op"] == "publish" else []
                counts[backlog] = len(came)
        assert counts[True] == 100
        assert counts[False] < 60

    def test_fragments_both_ways(self) -> None:
        """Quirk 7: with whole numbers as ids in replies."""
        with served() as (scene, raw):
            raw.send("subscribe", topic="/state", fragment_size=30)
            raw.settle()
            scene.state(name=["a" * 100])
            pieces = [raw.next()]
            while len(pieces) < pieces[0]["total"]:
                pieces.append(raw.next())
            assert all(type(piece["id"]) is int and len(piece["data"]) <= 30 for piece in pieces)
            whole = json.loads("".join(piece["data"] for piece in pieces))
            assert whole["msg"]["name"] == ["a" * 100]
            text = json.dumps({"op": "publish", "topic": "/state", "msg": {"name": ["b"]}})
            for number in (1, 0):
                data = (text[:20], text[20:])[number]
                raw.send("fragment", id="f", data=data, num=number, total=2)
            until(lambda: len(scene.seen) == 2)
            assert scene.seen[-1]["name"] == ["b"]

    def test_no_longer(self) -> None:
        with served() as (scene, raw):
            for number in "12":
                raw.send("subscribe", id=number, topic="/state")
            raw.send("unsubscribe", id="1", topic="/state")
            raw.settle()
            scene.state()
            assert raw.next()["topic"] == "/state", "the second one stays"
            raw.send("unsubscribe", id="2", topic="/state")
            raw.send("unadvertise", topic="/state")
            raw.settle()
            scene.state()
            raw.send("publish", topic="/state", msg={})
            assert raw.settle() == []
            assert "was not advertised" in scene.gateway.last_refusal

    def test_slow(self) -> None:
        with served(slow=0.05) as (scene, raw):
            raw.send("subscribe", topic="/state")
            raw.settle()
            begun = time.monotonic()
            for _ in range(4):
                scene.state()
            for _ in range(4):
                raw.next()
            assert time.monotonic() - begun > 0.19


class TestServices:
    def test_of_a_client(self) -> None:
        """Quirk 8."""
        with served() as (scene, raw):
            raw.send("advertise_service", service="/stop", type="std_srvs/Trigger")
            raw.settle()
            with connect(scene.gateway.url) as other:
                Raw(other).send("call_service", id="1", service="/stop", args={"a": 1})
                asked = raw.next()
                assert (asked["op"], asked["service"], asked["args"]) == ("call_service", "/stop", {"a": 1})
                raw.send("service_response", id=asked["id"], service="/stop", values={"success": True}, result=True)
                answer = Raw(other).next()
                assert (answer["op"], answer["id"], answer["service"]) == ("service_response", "1", "/stop")
                assert (answer["values"], answer["result"]) == ({"success": True}, True)
                raw.send("unadvertise_service", service="/stop")
                raw.settle()
                Raw(other).send("call_service", id="2", service="/stop")
                assert "no client offers /stop" in Raw(other).next()["values"]

    def test_of_a_client_that_goes_away(self) -> None:
        with served() as (scene, raw):
            raw.send("advertise_service", service="/stop", type="std_srvs/Trigger")
            raw.settle()
            with connect(scene.gateway.url) as other:
                Raw(other).send("call_service", id="1", service="/stop")
                raw.next()
                raw.connection.close()
                assert "is gone" in Raw(other).next()["values"]

    def test_rosapi(self) -> None:
        """Quirk 12: whole definitions, from which the types can be made again."""
        for dialect in ("ros1", "ros2"):
            with served(dialect) as (_, raw):
                raw.send("call_service", id="1", service="/rosapi/topics_and_raw_types")
                values = raw.next()["values"]
                assert values["topics"] == ["/state"]
                assert values["types"] == ["sensor_msgs/JointState" if dialect == "ros1" else STATE]
                types = Types()
                types.add("copied_msgs/msg/JointState", values["typedefs_full_text"][0])
                assert list(types.fields("copied_msgs/JointState")) == list(TYPES.fields(STATE))


class TestServer:
    def test_tokens(self) -> None:
        bus = Bus(types=TYPES)
        with pytest.raises(LaminarError, match="can be reached by other machines: give token=SECRET"):
            Gateway(Loopback(bus), TYPES, host="0.0.0.0")
        with Gateway(Loopback(bus), TYPES, token="opens") as gateway:
            for headers in ({}, {"Authorization": "Bearer shuts"}):
                with pytest.raises(InvalidStatus, match="401"):
                    connect(gateway.url, additional_headers=headers)
            with connect(gateway.url, additional_headers={"Authorization": "Bearer opens"}) as connection:
                assert Raw(connection).settle() == []

    def test_pages_in_a_browser(self) -> None:
        with served() as (scene, _), pytest.raises(InvalidStatus, match="403"):
            connect(scene.gateway.url, origin="https://elsewhere.example")  # pyright: ignore

    def test_again_at_the_same_address(self) -> None:
        scene = Scene()
        urls = set()
        for _ in range(3):
            with scene.gateway as gateway:
                urls.add(gateway.url)
                with pytest.raises(LaminarError, match="serves already"):
                    gateway.start()
                with connect(gateway.url) as connection:
                    assert Raw(connection).settle() == []
            assert gateway.clients == 0
        assert len(urls) == 1
        gateway.stop()

    def test_an_address_that_is_taken(self) -> None:
        with served() as (scene, _):
            port = int(scene.gateway.url.rpartition(":")[2])
            with pytest.raises(LaminarError, match=r"cannot listen at 127\.0\.0\.1:"):
                Gateway(Loopback(scene.bus), TYPES, port=port).start()


def test_what_came_while_the_process_stood_still_is_not_handed_on() -> None:
    """A command waits in the socket of a process that is stopped, and would be obeyed when that goes on."""
    bus, took = Bus(), list[float]()
    robot = Loopback(bus)
    robot.open()
    robot.subscribe("/move", NUMBER, lambda message, arrival: took.append(message["data"]))
    with Gateway(Loopback(bus), bus.types, max_age=0.2) as gateway:
        bridge = Rosbridge(bus.types, Settings(gateway.url, ping=5.0, max_age=5.0))
        bridge.open(5)
        bridge.advertise("/move", NUMBER)
        bridge.publish("/move", NUMBER, {"data": 1.0})
        bridge.call("/rosapi/get_time", "", {}, 5)
        stopped = threading.Event()
        assert gateway._loop is not None
        gateway._loop.call_soon_threadsafe(lambda: (stopped.set(), time.sleep(0.5)))
        assert stopped.wait(5)
        assert bridge.publish("/move", NUMBER, {"data": 2.0})
        bridge.call("/rosapi/get_time", "", {}, 5)
        assert took == [1.0]
        assert "stood still" in gateway.last_refusal
        until = time.monotonic() + 5
        while took[-1] != 3.0 and time.monotonic() < until:
            bridge.publish("/move", NUMBER, {"data": 3.0})
        assert took[-1] == 3.0, "later ones are handed on"
        bridge.close()
