"""SIGTERM: the platform's word that a job must end soon.

Imports next to nothing, so that it can be listened to before the imports that take seconds.
"""

import signal
import threading

_STOP = threading.Event()


def listen() -> threading.Event:
    """From now on, take a SIGTERM as a wish; return the event that it sets."""
    signal.signal(signal.SIGTERM, lambda _signal, _frame: _STOP.set())
    return _STOP
