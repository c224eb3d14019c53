"""A server in a thread of its own, begun when it listens."""

from __future__ import annotations

import threading
from collections.abc import Callable


def begun(name: str, run: Callable[[Callable[[], None]], None]) -> threading.Thread:
    """Start a thread, and return it when it is ready.

    Args:
        name: of the thread.
        run: what it does; calls what it is given when it is ready.

    Raises:
        BaseException: what `run` raised before it was ready.
    """
    ready, failed = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            run(ready.set)
        except BaseException as error:
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    ready.wait()
    if failed:
        raise failed[0]
    return thread
