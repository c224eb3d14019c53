"""What a gateway still has to send to one client: how often, how many, and in what form."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...data.robots.messages import Message
from ...errors import LaminarError
from . import protocol
from .dialect import Dialect, has_texts
from .quirks import Quirks

ENCODINGS = ("none", "cbor", "cbor-raw")


@dataclass
class Subscription:
    """A topic that a client reads.

    Attributes:
        topic, kind: of its messages.
        encoding: one of `ENCODINGS`.
        throttle: seconds between messages, at least.
        queue: messages that wait for that, the newest; 0 leaves out what comes too soon.
        fragment: characters of a frame at most; 0 for any.
        ids: of the requests that it comes from.
    """

    topic: str
    kind: str
    encoding: str = "none"
    throttle: float = 0.0
    queue: int = 0
    fragment: int = 0
    ids: set[str] = field(default_factory=set[str])
    next: float = 0.0
    waiting: deque[Message] = field(default_factory=deque[Message])


class Outbox:
    """Sends to one client, in a task of the gateway's loop."""

    def __init__(self, dialect: Dialect, quirks: Quirks, send: Callable[[str | bytes], Awaitable[None]]) -> None:
        """Send by `send`."""
        self._dialect, self._quirks, self._send = dialect, quirks, send
        self._ready: deque[tuple[Subscription, Message] | str] = deque()
        self._some = asyncio.Event()
        self._number = 0

    def put(self, text: str) -> None:
        """Send a frame."""
        self._ready.append(text)
        self._some.set()

    def offer(self, one: Subscription, message: Message) -> None:
        """Send a message of a subscription when it is due, or not at all."""
        now = time.monotonic()
        if not one.throttle:
            self._push(one, message)
        elif one.waiting or now < one.next:
            one.waiting.append(message)
            while len(one.waiting) > one.queue:
                one.waiting.popleft()
            if len(one.waiting) == 1:
                asyncio.get_running_loop().call_later(max(one.next - now, 0.0), self._due, one)
        else:
            one.next = now + one.throttle
            self._push(one, message)

    def _due(self, one: Subscription) -> None:
        if not one.waiting:
            return
        self._push(one, one.waiting.popleft())
        one.next = time.monotonic() + one.throttle
        if one.waiting:
            asyncio.get_running_loop().call_later(one.throttle, self._due, one)

    def _push(self, one: Subscription, message: Message) -> None:
        if not self._quirks.backlog:
            mine = [item for item in self._ready if not isinstance(item, str) and item[0] is one]
            for item in mine[: len(mine) - max(one.queue, 1) + 1]:
                self._ready.remove(item)
        self._ready.append((one, message))
        self._some.set()

    async def run(self, wrong: Callable[[str], None]) -> None:
        """Send until cancelled; what cannot be sent is told to `wrong`."""
        while True:
            await self._some.wait()
            self._some.clear()
            while self._ready:
                item = self._ready.popleft()
                try:
                    frames = [item] if isinstance(item, str) else self._frames(*item)
                except LaminarError as error:
                    wrong(str(error))
                    continue
                for frame in frames:
                    if self._quirks.slow:
                        await asyncio.sleep(self._quirks.slow)
                    await self._send(frame)

    def _frames(self, one: Subscription, message: Message) -> list[str] | list[bytes]:
        if one.encoding == "cbor-raw":
            seconds, rest = divmod(time.time_ns(), 10**9)
            raw = self._dialect.to_binary(one.kind, message)
            msg: Mapping[str, Any] = {"secs": seconds, "nsecs": rest, "bytes": raw}
            return [protocol.write_cbor("publish", {"topic": one.topic, "msg": msg})]
        named = {"topic": one.topic, "msg": self._dialect.write(one.kind, message)}
        if one.encoding == "cbor":
            lost = self._quirks.cbor_drops_string_arrays and self._dialect.name == "ros1"
            if lost and has_texts(self._dialect.types, one.kind):
                raise LaminarError(f"'str' object has no attribute '__slots__' ({one.kind} in cbor)")
            return [protocol.write_cbor("publish", named)]
        self._number += 1
        text = protocol.write("publish", named, nan="null" if self._quirks.null_for_nan else "NaN")
        return protocol.fragments(text, one.fragment, self._number)
