"""MCAP files, one or several of one recording; what was cut is read as far as it goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from mcap.exceptions import EndOfFile, RecordLengthLimitExceeded
from mcap.records import Attachment, Channel, Chunk, Message, Metadata, Schema
from mcap.stream_reader import StreamReader, breakup_chunk

from ...errors import LaminarError
from .bag import Bag, Described, Raw
from .words import DESCRIPTION, KEYS, METADATA, ROBOT

MAGIC = b"\x89MCAP0\r\n"


class McapFile(Bag):
    """Files of MCAP, read from their beginning and without their index, which a killed recorder does not write."""

    def __init__(self, path: Path, files: Sequence[Path] = ()) -> None:
        """Take the file, or a folder and the files in it that follow each other."""
        super().__init__(path)
        self._files = list(files) or [path]

    def described(self) -> Described | None:
        """Return what our own recorder writes in front of the messages."""
        for record in self._records(self._files[0]):
            if isinstance(record, Metadata) and record.name == METADATA and DESCRIPTION in record.metadata:
                told = record.metadata
                return Described(told.get(ROBOT, ""), told[DESCRIPTION], tuple(told.get(KEYS, "").split("\n")))
            if isinstance(record, Message):
                break
        return None

    def stored(self) -> Iterator[Raw]:
        """Yield the messages as they lie in the files."""
        for file in self._files:
            channels: dict[int, str] = {}
            schemas: dict[int, Schema] = {}
            for record in self._records(file):
                if isinstance(record, Message):
                    if record.channel_id not in channels:
                        raise LaminarError(f"{file}: is damaged: a message of a channel that was never described")
                    yield Raw(channels[record.channel_id], record.log_time, record.data)
                elif isinstance(record, Schema):
                    schemas[record.id] = record
                elif isinstance(record, Channel):
                    channels[record.id] = record.topic
                    self._know(record, schemas.get(record.schema_id))
                else:
                    self._beside(record)

    def _records(self, file: Path) -> Iterator[Any]:
        """Yield the records of a file up to its end or to where it was cut, and those inside of chunks."""
        with file.open("rb") as stream:
            whole = _Whole(stream)
            limit = file.stat().st_size
            records = iter(StreamReader(whole, emit_chunks=True, record_size_limit=limit).records)  # pyright: ignore[reportArgumentType]
            while True:
                try:
                    record = next(records)
                    inside = breakup_chunk(record, validate_crc=True) if isinstance(record, Chunk) else [record]
                except StopIteration:
                    return
                except (EndOfFile, RecordLengthLimitExceeded):
                    self.cut = True
                    return
                except Exception as error:  # of damaged bytes it raises what its parts raise
                    why = " ".join(str(error).split())
                    raise LaminarError(
                        f"{file}: is damaged before byte {stream.tell()}: {why:.200}; copy it again"
                    ) from error
                yield from inside

    def _know(self, channel: Channel, schema: Schema | None) -> None:
        kind, form, definition = "nothing that is described", channel.message_encoding, ""
        if schema is not None:
            kind = schema.name
            if schema.encoding in ("ros2msg", "ros1msg"):
                definition = schema.data.decode("utf-8", "replace")
        self.know(channel.topic, kind, form, definition)

    def _beside(self, record: Any) -> None:
        if isinstance(record, Metadata) and record.name != METADATA:
            self.unread[f"metadata '{record.name}'"] = None
        elif isinstance(record, Attachment):
            self.unread[f"attachment '{record.name}'"] = None


class _Whole:
    """A stream that gives all bytes that are asked for, or says that it ends; never some of them."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, count: int) -> bytes:
        data = self._stream.read(count)
        if len(data) < count:
            raise EndOfFile
        return data
