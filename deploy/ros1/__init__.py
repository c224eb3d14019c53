"""Native ROS 1, for machines that have it: the node of this process, forms of messages, and services."""

from __future__ import annotations
