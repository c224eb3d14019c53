"""Bags of ROS 1 (`.bag`) and of ROS 2 in SQLite (`.db3`, alone or in a folder), read by rosbags."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2 import Reader as Reader2

from ...errors import LaminarError
from .bag import Bag, Raw


class RosFile(Bag):
    """What rosbags reads by its index."""

    def stored(self) -> Iterator[Raw]:
        """Yield the messages in the order of the index."""
        ros1 = self.path.suffix == ".bag"
        try:
            reader: Any = Reader1(self.path) if ros1 else Reader2(self.path)
            with reader:
                for one in reader.connections:
                    definition = one.msgdef.data if one.msgdef.format == MessageDefinitionFormat.MSG else ""
                    form = "ros1" if ros1 else one.ext.serialization_format
                    self.know(one.topic, one.msgtype, form, definition)
                for one, time, data in reader.messages():
                    yield Raw(one.topic, time, bytes(data))
        except Exception as error:  # of damaged bytes it raises what struct, SQLite and others raise
            why = " ".join(str(error).split()) or type(error).__name__
            remedy = "`rosbag reindex` may repair it" if ros1 else "copy it again, or `ros2 bag reindex` its folder"
            raise LaminarError(f"{self.path}: cannot be read as a bag ({why:.200}); {remedy}") from error
