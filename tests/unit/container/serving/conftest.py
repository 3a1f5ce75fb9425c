"""A worker of gunicorn that serves in a thread of the test."""

import contextlib
import os
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger

Running = Callable[..., AbstractContextManager["Served"]]


@dataclass(frozen=True)
class Served:
    """A worker, the thread of its main loop, and where it listens."""

    worker: Any
    loop: threading.Thread
    address: tuple[str, int]

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=10)


@pytest.fixture
def make_worker() -> Iterator[Callable[..., Any]]:
    """Make a worker of a class, as `init_process` leaves it, for a WSGI application."""
    with contextlib.ExitStack() as until_end:

        def make(worker_class, app, **settings):
            config = Config()
            for name, value in settings.items():
                config.set(name, value)
            listener = until_end.enter_context(socket.create_server(("127.0.0.1", 0)))
            worker = worker_class(1, os.getppid(), [listener], None, 30, config, Logger(config))
            until_end.callback(worker.tmp.close)
            worker.wsgi = app
            worker.tpool = worker.get_thread_pool()
            until_end.callback(worker.tpool.shutdown)
            worker.poller = until_end.enter_context(selectors.DefaultSelector())
            worker.method_queue.init()
            return worker

        yield make


@pytest.fixture
def running(make_worker) -> Running:
    """Let a worker run until the end of the block."""

    @contextlib.contextmanager
    def run(worker_class, app, **settings):
        worker = make_worker(worker_class, app, **settings)
        loop = threading.Thread(target=worker.run)
        address = worker.sockets[0].getsockname()
        loop.start()
        try:
            yield Served(worker, loop, address)
        finally:
            worker.alive = False
            worker.method_queue.defer(lambda: None)
            loop.join(20)

    return run
