"""The ROS 1 node of this process, and the master that it is registered with.

A process has one node, and rospy cannot end it and begin another: it lives as long as the process.
"""

from __future__ import annotations

import importlib
import logging
import os
import socket
import sys
import threading
import xmlrpc.client
from typing import Any
from urllib.parse import urlsplit

from ...errors import LaminarError

DEBIAN = "/usr/lib/python3/dist-packages"
PACKAGES = "python3-rospy python3-roslib python3-std-msgs python3-std-srvs"
_NAME = "laminar"
_PATIENCE = 2.0  # seconds that rospy waits for its master, each time
_LOCK = threading.Lock()
_joining: threading.Thread | None = None


class RefusedError(LaminarError):
    """The master is there, and does not know what it is asked about."""


def imported(name: str = "rospy") -> Any:
    """Return a module of ROS; Debian's are looked at last, so that they never hide one of this environment.

    Raises:
        LaminarError: there is none; says what to install.
    """
    logger = logging.getLoggerClass()
    try:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            if DEBIAN in sys.path or not os.path.isdir(DEBIAN):
                raise
            sys.path.append(DEBIAN)
            importlib.invalidate_caches()
            return importlib.import_module(name)
    except ImportError as error:
        raise LaminarError(
            f"transport=rospy needs ROS 1 here ({error}): apt-get install {PACKAGES}; transport=rosbridge needs none"
        ) from error
    finally:
        logging.setLoggerClass(logger)  # rospy's own would be everybody's


class Master:
    """Asks the master; unlike rospy it never waits longer than it is told to."""

    def __init__(self, address: str, timeout: float) -> None:
        """Belong to a master.

        Args:
            address: http://HOST:PORT.
            timeout: seconds that an answer may take.

        Raises:
            LaminarError: the address is none.
        """
        parts = urlsplit(address)
        try:
            self.host, self.port = parts.hostname or "", parts.port or 0
        except ValueError:  # no number
            self.host, self.port = "", 0
        if parts.scheme != "http" or not (self.host and self.port):
            raise LaminarError(f"'{address}' is no address of a ROS 1 master; write url=http://127.0.0.1:11311")
        self.address, self._timeout = address, timeout
        self._proxy: Any = xmlrpc.client.ServerProxy(address, _Patient(timeout))
        self._lock = threading.Lock()

    def ask(self, method: str, *arguments: Any) -> Any:
        """Return what a method of the master's returns.

        Raises:
            LaminarError: the master is away, or refuses; says why.
        """
        try:
            with self._lock:
                code, told, value = getattr(self._proxy, method)(f"/{_NAME}", *arguments)
        except (OSError, xmlrpc.client.Error, ValueError, TypeError) as error:
            raise LaminarError(f"no ROS 1 master answers at {self.address}: {str(error) or repr(error)}") from error
        if code != 1:
            raise RefusedError(f"the ROS 1 master at {self.address} refuses {method}: {told}")
        return value

    def reached_from(self) -> str:
        """Return the address of this machine that reaches the master, and so what the others there can reach.

        Raises:
            LaminarError: it cannot be reached.
        """
        try:
            with socket.create_connection((self.host, self.port), self._timeout) as connection:
                return str(connection.getsockname()[0])
        except OSError as error:
            raise LaminarError(f"no ROS 1 master answers at {self.address}: {error}; start one by roscore") from error


class _Patient(xmlrpc.client.Transport):
    """Waits for an answer so long and no longer."""

    def __init__(self, timeout: float) -> None:
        super().__init__()
        self._timeout = timeout

    def make_connection(self, host: Any) -> Any:
        connection = super().make_connection(host)
        connection.timeout = self._timeout
        return connection


def join(address: str, timeout: float) -> Any:
    """Return rospy with the node of this process registered; the first call makes it.

    Args:
        address: of the master.
        timeout: seconds.

    Raises:
        LaminarError: there is no rospy, no master, or the node belongs to another one.
    """
    rospy, master = imported(), Master(address, timeout)
    with _LOCK:
        here = master.reached_from()
        master.ask("getPid")
        if rospy.core.is_shutdown():
            raise LaminarError("the ROS node of this process has ended, and rospy makes no second one: start anew")
        known = os.environ.get("ROS_MASTER_URI", "").rstrip("/")
        if (rospy.core.is_initialized() or _joining is not None) and known != address.rstrip("/"):
            raise LaminarError(f"a process has one ROS node, and this one's is at {known}; start another one")
        if not rospy.core.is_initialized():
            _initialise(rospy, address, here, timeout)
    return rospy


def _initialise(rospy: Any, address: str, here: str, timeout: float) -> None:
    """Make the node, in a thread: rospy waits forever for a master that leaves just now."""
    global _joining
    os.environ["ROS_MASTER_URI"] = address
    if not (os.environ.get("ROS_IP") or os.environ.get("ROS_HOSTNAME")):
        os.environ["ROS_IP"] = here  # rospy would tell this machine's name, which others may not know
    rospy.core.configure_logging = lambda *_, **__: None  # it would take the handlers of this process's own logging
    proxy = rospy.core._LockedServerProxy(address, _Patient(_PATIENCE))
    rospy.core._xmlrpc_cache.setdefault(address, proxy)  # its own would wait without an end for a master that is stuck
    if _joining is None:
        settings = {"anonymous": True, "disable_signals": True, "disable_rosout": True, "argv": []}
        _joining = threading.Thread(
            target=rospy.init_node, args=(_NAME,), kwargs=settings, name="ROS node", daemon=True
        )
        _joining.start()
    _joining.join(timeout)
    if not rospy.core.is_initialized() or _joining.is_alive():
        raise LaminarError(f"the ROS 1 master at {address} did not register a node within {timeout:g} s")
