"""Listen for SIGTERM, by which the platform says that a job must end soon.

This module imports almost nothing, so that listening starts before imports that take seconds.
"""

import signal
import threading

_STOP = threading.Event()


def listen() -> threading.Event:
    """From now on, let a SIGTERM only set an event; return that event."""
    signal.signal(signal.SIGTERM, lambda _signal, _frame: _STOP.set())
    return _STOP
