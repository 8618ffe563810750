"""Ctrl-C and SIGTERM as a request that the trainer honours between two steps, so that the saved state is whole."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Set by a signal; read by the trainer after every step."""

    def __init__(self) -> None:
        self.requested = False


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Within the context the first SIGINT or SIGTERM sets the request, and a second one acts at once.

    Handlers are put back on leaving. Outside the main thread, where Python allows no handlers, nothing is installed.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(_number: int, _frame: FrameType | None) -> None:
        if request.requested:
            raise KeyboardInterrupt
        request.requested = True

    for number in previous:
        signal.signal(number, handle)
    try:
        yield request
    finally:
        for number, handler in previous.items():  # None stands for one that was not installed from Python
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
