"""One client of a gateway: what it asks for, op by op."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, cast

from ...data.robots.messages import Message, full_name
from ...errors import LaminarError
from . import protocol
from .dialect import Dialect
from .outbox import ENCODINGS, Outbox, Subscription
from .quirks import Quirks
from .services import values_of


class Hub(Protocol):
    """What a client needs of its gateway."""

    dialect: Dialect
    quirks: Quirks

    def refuse(self, reason: str) -> None:
        """Count a frame that was not what it should be."""
        ...

    def kind_of(self, topic: str) -> str:
        """Return the type of a topic, "" where nobody has told it."""
        ...

    def carries(self, topic: str, kind: str) -> None:
        """Note the type of a topic, and read it."""
        ...

    async def publish(self, topic: str, kind: str, message: Message) -> None:
        """Hand a message on."""
        ...

    async def call(self, service: str, kind: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Call a service."""
        ...

    def offer(self, session: Session, service: str, kind: str) -> None:
        """Note that a client offers a service."""
        ...

    def withdraw(self, session: Session, service: str | None = None) -> None:
        """Note that a client offers a service, or none, any more."""
        ...


class Session:
    """One client, in the gateway's loop."""

    def __init__(self, hub: Hub, send: Callable[[str | bytes], Awaitable[None]]) -> None:
        """Belong to a gateway, and send by `send`."""
        self._hub, self._dialect = hub, hub.dialect
        self.outbox = Outbox(hub.dialect, hub.quirks, send)
        self._advertised: dict[str, str] = {}
        self._read: dict[str, Subscription] = {}
        self._fragments = protocol.Fragments()
        self._numbers = itertools.count(1)
        self._calls: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ops: dict[str, Callable[[dict[str, Any]], Awaitable[None] | None]] = {
            "advertise": self._advertise,
            "unadvertise": lambda frame: cast(None, self._advertised.pop(_topic(frame), None)),
            "publish": self._publish,
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "call_service": self._call_service,
            "service_response": self._service_response,
            "advertise_service": self._advertise_service,
            "unadvertise_service": lambda frame: hub.withdraw(self, protocol.text_of(frame, "service")),
            "set_level": lambda frame: None,
            "status": lambda frame: None,
        }

    async def take(self, raw: str | bytes) -> None:
        """Do what a frame asks for; whatever is wrong with it, the next may come."""
        frame: dict[str, Any] = {}
        try:
            frame = protocol.read(raw)
            whole = self._fragments.add(frame) if frame["op"] == "fragment" else frame
            if whole is None:
                return
            frame = whole
            if frame["op"] not in self._ops:
                raise protocol.ProtocolError(f"no op is called {protocol.short(frame['op'])}")
            done = self._ops[frame["op"]](frame)
            if done is not None:
                await done
        except LaminarError as error:
            self._wrong(str(error), frame.get("id"))
        except Exception as error:  # whatever a frame made of anything led to: the client stays
            self._wrong(f"a frame cannot be read: {error!r}"[:300], frame.get("id"))

    def offer(self, topic: str, message: Message) -> None:
        """Send a message of a topic where it is read."""
        one = self._read.get(topic)
        if one is not None:
            self.outbox.offer(one, message)

    async def ask(self, service: str, kind: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Call a service that this client offers, and return its response.

        Raises:
            LaminarError: it failed, or the client went away.
        """
        key = f"service_request:{service}:{next(self._numbers)}"
        self._calls[key] = asyncio.get_running_loop().create_future()
        try:
            args = self._dialect.write_part(kind, "Request", request)
            self.outbox.put(protocol.write("call_service", {"id": key, "service": service, "args": args}))
            return self._dialect.read_part(kind, "Response", values_of(service, await self._calls[key]))
        finally:
            del self._calls[key]

    def gone(self) -> None:
        """Take the client's leave."""
        self._hub.withdraw(self)
        for call in self._calls.values():
            if not call.done():
                call.set_exception(LaminarError("the client that offers the service is gone"))
        for task in self._tasks:
            task.cancel()

    def wrong(self, reason: str) -> None:
        """Note what is wrong with something sent to this client."""
        self._wrong(reason, None)

    def _wrong(self, reason: str, key: Any) -> None:
        self._hub.refuse(reason)
        if not self._hub.quirks.silent_errors:
            told = {"level": "error", "msg": reason} | ({"id": key} if isinstance(key, str) else {})
            self.outbox.put(protocol.write("status", told))

    def _advertise(self, frame: dict[str, Any]) -> None:
        topic, kind = _topic(frame), full_name(protocol.text_of(frame, "type"))
        self._dialect.types.fields(kind)
        self._hub.carries(topic, kind)
        self._advertised[topic] = kind

    async def _publish(self, frame: dict[str, Any]) -> None:
        topic, values = _topic(frame), protocol.map_of(frame, "msg")
        if topic not in self._advertised:
            raise LaminarError(f"topic {protocol.short(topic)} was not advertised")
        if _has_null(values):
            raise LaminarError(f"a message of {topic} has null in it")
        kind = self._advertised[topic]
        message = self._dialect.types.complete(kind, self._dialect.read(kind, values))
        await self._hub.publish(topic, kind, message)

    def _subscribe(self, frame: dict[str, Any]) -> None:
        topic = _topic(frame)
        told, known = frame.get("type"), self._hub.kind_of(topic)
        kind = full_name(protocol.text_of(frame, "type")) if told or not known else known
        self._dialect.types.fields(kind)
        encoding = frame.get("compression") or "none"
        if encoding not in ENCODINGS:
            raise protocol.ProtocolError(f"compression {protocol.short(str(encoding))} is none of {ENCODINGS}")
        self._hub.carries(topic, kind)
        ids = self._read[topic].ids if topic in self._read else set[str]()
        throttle = protocol.number_of(frame, "throttle_rate") / 1e3
        queue, fragment = protocol.number_of(frame, "queue_length"), protocol.number_of(frame, "fragment_size")
        one = Subscription(topic, kind, encoding, throttle, queue, fragment, ids | {str(frame.get("id"))})
        self._read[topic] = one

    def _unsubscribe(self, frame: dict[str, Any]) -> None:
        one = self._read.get(_topic(frame))
        if one is None:
            raise LaminarError(f"topic {protocol.short(_topic(frame))} is not read")
        one.ids.discard(str(frame.get("id")))
        if frame.get("id") is None or not one.ids:
            one.waiting.clear()
            del self._read[one.topic]

    def _call_service(self, frame: dict[str, Any]) -> None:
        """Call in a task of its own: a slow service must not keep this client's other frames waiting."""
        task = asyncio.ensure_future(self._called(frame))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _called(self, frame: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"id": frame.get("id"), "service": frame.get("service")}
        try:
            service = protocol.text_of(frame, "service")
            kind = protocol.text_of(frame, "type") if frame.get("type") else ""
            args = frame.get("args") or {}
            if isinstance(args, list):  # the protocol allows values without names, which only definitions could give
                raise protocol.ProtocolError("args is a map of names")
            request = self._dialect.read_part(kind, "Request", protocol.map_of({**frame, "args": args}, "args"))
            values = await self._hub.call(service, kind, request)
            answer |= {"values": self._dialect.write_part(kind, "Response", values), "result": True}
            text = protocol.write("service_response", answer, nan="null")
        except LaminarError as error:
            self._hub.refuse(str(error))
            text = protocol.write("service_response", answer | {"values": str(error), "result": False})
        self.outbox.put(text)

    def _service_response(self, frame: dict[str, Any]) -> None:
        call = self._calls.get(str(frame.get("id")))
        if call is None:
            raise LaminarError(f"nobody waits for the answer {protocol.short(str(frame.get('id')))}")
        if not call.done():
            call.set_result(frame)

    def _advertise_service(self, frame: dict[str, Any]) -> None:
        self._hub.offer(self, protocol.text_of(frame, "service"), protocol.text_of(frame, "type"))


def _topic(frame: Mapping[str, Any]) -> str:
    return protocol.text_of(frame, "topic")


def _has_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_null(one) for one in cast("dict[str, Any]", value).values())
    if isinstance(value, list):
        return any(_has_null(one) for one in cast("list[Any]", value))
    return value is None
