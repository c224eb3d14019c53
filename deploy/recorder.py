"""What a robot showed and was told, in one MCAP file that reads back as demonstrations.

    with Recorder("out/today.mcap", robot, Types()) as recorder:
        recorder.mark("begin", time.time())
        recorder.seen("/arm/joint_states", message, time.time())
        recorder.observed(instant, time.time())
        recorder.commanded("/arm/command", message, time.time())

Foxglove and `ros2 bag` read it too. Every half second what came is handed to the system, whole, so a kill loses no
more than that; without power it may be what the system keeps for later, some seconds.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from mcap.writer import CompressionType, Writer

from ..data.bags.words import DESCRIPTION, EPISODE, INSTRUCTION, KEYS, KINDS, METADATA, OBSERVED, ROBOT, STATE
from ..data.robots.description import Robot
from ..data.robots.messages import Types, full_name, stamp_of, stamped
from ..errors import LaminarError, nearest
from ..machine import at_home
from ..progress import tell
from ..version import __version__

_FLUSHED = 0.5  # seconds
_CHUNK = 1 << 20  # bytes
_MOST = 256 << 20  # bytes that wait to be written, at most
_PATIENCE = 30.0  # seconds that the last messages may take at the end
_LATEST = 1e10  # seconds since 1970, three hundred years


class Recorder:
    """Writes a recording, in a thread of its own; called from any thread.

    Attributes:
        path: the file.
        lost: messages that came while more waited than there is room for, or after the file could not be written any
            more; marks wait however many there are.
    """

    def __init__(self, path: str | Path, robot: Robot, types: Types, overwrite: bool = False) -> None:
        """Begin a file.

        Args:
            path: of the file, which ends in .mcap.
            robot: whose description goes into the file, and whose topics are recorded.
            types: definitions of their messages.
            overwrite: whether a file that is there is replaced.

        Raises:
            LaminarError: the file is there or cannot be written, or the robot has no description in text.
        """
        self.path, self.lost = Path(at_home(str(path))), 0
        if not robot.text:
            raise LaminarError(f"robot {robot.name} has no text that could go into a recording; load it from a file")
        self._kinds = {**robot.types, **KINDS}
        self._types, self._robot = types, robot
        self._waiting = 0  # bytes
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[tuple[str, bytes, int, int] | None] = queue.SimpleQueue()
        self._failure: OSError | None = None
        self._raised = False  # that it failed
        self._closed = False
        self._open(overwrite)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def seen(self, topic: str, message: Mapping[str, Any], seconds: float) -> None:
        """Record a message that came; where the file cannot be written any more, it is lost.

        Args:
            topic: one of the robot's.
            message: complete, as a transport has it; it may be changed afterwards.
            seconds: when it came, in seconds since 1970.

        Raises:
            LaminarError: the robot has no such topic.
        """
        self._put(topic, message, seconds)

    def commanded(self, topic: str, message: Mapping[str, Any], seconds: float) -> None:
        """Record a message that was sent, and when, in seconds since 1970.

        Raises:
            LaminarError: the file cannot be written any more. That is said once: what comes to rest afterwards goes on.
        """
        self._say_failure()
        self._put(topic, message, seconds)

    def observed(self, instant: float, seconds: float) -> None:
        """Mark what the next command is computed from.

        Args:
            instant: of the observation, in seconds of the robot's clock.
            seconds: now, since 1970.
        """
        self._put(OBSERVED, stamped(instant)["stamp"], seconds, always=True)

    def mark(self, text: str, seconds: float) -> None:
        """Mark the begin or the end of an episode: "begin", "success", "failure" or "end", and whatever follows.

        Raises:
            LaminarError: as `commanded` does.
        """
        self._say_failure()
        self._put(EPISODE, {"data": text}, seconds, always=True)

    def told(self, words: str, seconds: float) -> None:
        """Record what the policy is told from now on."""
        self._put(INSTRUCTION, {"data": words}, seconds, always=True)

    def transition(self, text: str, seconds: float) -> None:
        """Record a change of state; the text begins with the one that holds from now on: "hold: no observation"."""
        self._put(STATE, {"data": text}, seconds, always=True)

    def close(self) -> None:
        """Write what waits, and the index.

        Raises:
            LaminarError: it could not all be written.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            raise LaminarError(f"{self.path}: the disk is too slow, {self._waiting} bytes were not written in time")
        if self._failure is not None:
            raise self._broken()
        if self.lost:
            tell(f"{self.path}: {self.lost} messages were lost, as the disk was too slow for them")

    def __enter__(self) -> Recorder:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close."""
        self.close()

    def _put(self, topic: str, message: Mapping[str, Any], seconds: float, always: bool = False) -> None:
        kind = self._kinds.get(topic)
        if kind is None:
            raise LaminarError(f"robot {self._robot.name} has no topic {topic}{nearest(topic, self._kinds)}")
        if not 0 <= seconds < _LATEST:
            raise LaminarError(f"{topic}: {seconds} is no time in seconds since 1970")
        try:
            data = self._types.to_cdr(kind, message)
        except Exception as error:  # of a message that is none, rosbags raises what numpy and struct raise
            raise LaminarError(f"{topic}: the message is no {kind}: {error!r:.200}") from error
        written = round(seconds * 1e9)
        with self._lock:
            full = self._waiting + len(data) > _MOST and not always
            if self._closed or full or self._failure is not None:
                self.lost += 1
                return
            self._waiting += len(data)
            self._queue.put((topic, data, written, _published(message, written)))

    def _say_failure(self) -> None:
        if self._failure is not None and not self._raised:
            self._raised = True
            raise self._broken()

    def _broken(self) -> LaminarError:
        return LaminarError(f"{self.path}: cannot be written any more ({self._failure}); make room and record anew")

    def _open(self, overwrite: bool) -> None:
        if self.path.suffix != ".mcap":
            raise LaminarError(f"{self.path}: a recording is MCAP; call it {self.path.with_suffix('.mcap').name}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("wb" if overwrite else "xb")
            self._begin()
        except FileExistsError as error:
            raise LaminarError(f"{self.path}: is there already; choose another name") from error
        except OSError as error:
            raise LaminarError(f"{self.path}: cannot be written ({error.strerror})") from error

    def _begin(self) -> None:
        """Write what a cut file needs to explain itself."""
        self._writer = Writer(self._file, chunk_size=_CHUNK, compression=CompressionType.LZ4)
        self._writer.start("ros2", f"laminar {__version__}")
        keys = "\n".join(self._robot.observation)
        self._writer.add_metadata(METADATA, {ROBOT: self._robot.name, DESCRIPTION: self._robot.text, KEYS: keys})
        self._writer.flush()
        self._channels: dict[str, int] = {}

    def _run(self) -> None:
        """Write what comes until the end; on an error nothing further is taken."""
        try:
            with self._file:
                self._write_all()
                self._writer.finish()
        except OSError as error:
            with self._lock:
                self._failure = error

    def _write_all(self) -> None:
        flushed = time.monotonic()
        while True:
            try:
                one = self._queue.get(timeout=_FLUSHED)
            except queue.Empty:
                one = ()
            if one is None:
                return
            if one:
                self._write(*one)
            if time.monotonic() > flushed + _FLUSHED:
                self._writer.flush()
                flushed = time.monotonic()

    def _write(self, topic: str, data: bytes, seconds: int, published: int) -> None:
        if topic not in self._channels:
            self._channels[topic] = self._describe(topic)
        self._writer.add_message(self._channels[topic], seconds, data, published)
        with self._lock:
            self._waiting -= len(data)

    def _describe(self, topic: str) -> int:
        kind = full_name(self._kinds[topic])
        definition, _ = self._types.store.generate_msgdef(kind, ros_version=2)
        schema = self._writer.register_schema(kind, "ros2msg", definition.encode())
        return self._writer.register_channel(topic, "cdr", schema)


def _published(message: Mapping[str, Any], written: int) -> int:
    """Return the nanoseconds of a message's own stamp, or when it was written."""
    if stamp_of(message) is None:
        return written
    stamp = message["header"]["stamp"]
    return max(0, stamp["sec"] * 1_000_000_000 + stamp["nanosec"])
