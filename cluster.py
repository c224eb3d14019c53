"""A Ray cluster: one that is there already, or one started here for as long as it is used. Needs the extra `ray`.

A cluster that is started here listens on the loopback alone, asks for a secret that this process made, shows no
dashboard, tells nobody that it is used, and writes into a folder of its own, which is gone afterwards. Whoever can
reach a cluster can run code on it: one that others started is as safe as they made it. In a program that imported Ray
before, the cluster listens on all addresses of the machine; the secret is asked for all the same.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .errors import LaminarError

_TRIES = 3  # on a machine that is very busy a part of Ray may give up on another one that is slow to start
_PATIENCE = 10.0  # seconds that a cluster has to answer
_SHORT = 30  # characters of a folder: Ray puts sockets deep into it, whose paths may have 107
_HERE = {  # read when Ray is imported, and by the processes that it starts; RAY_AUTH_TOKEN is beside them
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # its nodes are on this machine alone: the loopback everywhere
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # without gpus= a task sees those of its machine
}


def check_ray() -> None:
    """Raise unless Ray is installed.

    Raises:
        LaminarError: names the extra.
    """
    if find_spec("ray") is None:
        raise LaminarError("launcher=ray needs the extra: pip install 'laminar[ray]'")


@contextmanager
def cluster(address: str | None = None, cpus: int | None = None, gpus: int | None = None) -> Generator[Any]:
    """Yield the module `ray`, connected to a cluster.

    One that this process is connected to already is used and left as it is.

    Args:
        address: of a cluster, HOST:PORT, or "auto" for one that was started on this machine; None: that of the
            environment variable RAY_ADDRESS, and where there is none, one is started here and stopped afterwards.
        cpus: that a cluster started here has; None: those of the machine.
        gpus: the same.

    Raises:
        LaminarError: Ray is not installed, no cluster answers at the address, or none can be started.
    """
    check_ray()
    address = address or os.environ.get("RAY_ADDRESS")
    if not address:
        os.environ.update(_HERE)
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # Ray reads it once in the life of a process
    import ray  # pyright: ignore[reportMissingImports]  # an extra

    if ray.is_initialized():
        yield ray
        return
    folder, asked = None if address else _folder(), signal.getsignal(signal.SIGTERM)
    try:
        _reach(ray, address) if address else _start(ray, folder, cpus, gpus)
        if callable(asked) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, asked)  # Ray puts its own in the place of whatever there was
        yield ray
    finally:
        ray.shutdown()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _reach(ray: Any, address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if port.isdecimal():  # Ray itself would ask again and again, for many minutes
            socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # of many types, by how far it came
        raise LaminarError(f"no Ray cluster answers at {address}: {_first_line(error)}") from error


def _start(ray: Any, folder: str | None, cpus: int | None, gpus: int | None) -> None:
    told = ""
    for _ in range(_TRIES):
        try:
            # Ray would warn that a secret is asked for, which it does by itself where it starts a cluster
            logging.getLogger("ray").setLevel(logging.ERROR)
            ray.init(
                address="local",
                num_cpus=cpus,
                num_gpus=gpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _node_ip_address="127.0.0.1",
                _temp_dir=folder,
            )
            return
        except Exception as error:  # of many types, by what did not start
            ray.shutdown()
            _end_parts(str(folder))
            told = _first_line(error)
    raise LaminarError(f"Ray does not start on this machine: {told}")


def _end_parts(folder: str) -> None:
    """End what did start of a cluster that did not: Ray leaves these processes, whose commands name the folder."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and folder in (entry / "cmdline").read_bytes().decode(errors="replace"):
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:  # it has ended meanwhile
            continue


def _folder() -> str:
    place = tempfile.gettempdir()
    return tempfile.mkdtemp(prefix="ray-", dir=place if len(place) <= _SHORT else "/tmp")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
