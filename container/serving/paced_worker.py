"""gunicorn's threaded worker, with two differences.

A client that dawdles loses its connection and not our thread: a thread is busy from the first byte
of a request to the last of its answer, and few clients that send or read a byte now and then could
keep all of them. So whoever is slower than a slow line is cut off, and a connection on which
nothing has come yet waits without a thread.

A request that is quick and has come as a whole is answered in the main loop: to hand it to a thread
and its connection back costs more than its answer, and threads that all want the interpreter lock
hinder each other.
"""

import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from selectors import EVENT_READ

from gunicorn.http.message import Request
from gunicorn.workers.gthread import TConn, ThreadWorker

from container.serving import quick_request
from container.serving.paced_socket import PacedSocket


class PacedWorker(ThreadWorker):  # type: ignore[misc] # gunicorn carries no types
    """A worker for `gunicorn_conf.worker_class`."""

    def accept(self, listener: socket.socket) -> None:
        """Take a connection, and a thread for it only once something has come."""
        try:
            accepted, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another worker was faster, or the client gave up
        connection = TConn(self.cfg, PacedSocket(accepted), address, listener.getsockname())
        connection.set_timeout()
        self.nr_conns += 1
        self.pending_conns.append(connection)
        readable = partial(self.on_pending_socket_readable, connection)
        self.poller.register(connection.sock, EVENT_READ, readable)

    def on_pending_socket_readable(self, connection: TConn, client: PacedSocket) -> None:
        """Answer the first request of a connection."""
        if quick_request.is_quick(client.peek(quick_request.MAX_BYTES)):
            self._answer_here(connection, self.pending_conns)
        else:
            super().on_pending_socket_readable(connection, client)

    def on_client_socket_readable(self, connection: TConn, client: PacedSocket) -> None:
        """Answer a further request of a connection."""
        if quick_request.is_quick(client.peek(quick_request.MAX_BYTES)):
            self._answer_here(connection, self.keepalived_conns)
        else:
            super().on_client_socket_readable(connection, client)

    def handle(self, connection: TConn) -> object:
        """Answer the request that has begun on a connection, in a thread of the pool."""
        connection.sock.begin()
        return self._conclude(connection, super().handle(connection))

    def handle_request(self, request: Request, connection: TConn) -> object:
        """Answer a request that has been parsed, and send the answer."""
        goes_on = super().handle_request(request, connection)
        connection.sock.flush()
        return goes_on

    def _answer_here(self, connection: TConn, waiting: deque[TConn]) -> None:
        """Answer in the main loop; what is left to do where anything is unusual, a thread does."""
        client = connection.sock
        connection.data_ready = True
        client.hold()
        goes_on = super().handle(connection)
        waiting.remove(connection)
        if goes_on and _is_done(connection):
            connection.set_timeout()
            self.keepalived_conns.append(connection)
            if waiting is self.pending_conns:
                readable = partial(self.on_client_socket_readable, connection)
                self.poller.modify(client, EVENT_READ, readable)
        else:
            self.poller.unregister(client)
            self._enqueue(partial(self._conclude, connection, goes_on), connection)

    def _conclude(self, connection: TConn, goes_on: object) -> object:
        """Send what is left of an answer; take leave of a client with whom it does not go on."""
        client = connection.sock
        client.begin()
        try:
            client.flush()
        except OSError:
            goes_on = False
        if not goes_on:
            client.linger()
        return goes_on

    def _enqueue(self, task: Callable[[], object], connection: TConn) -> None:
        def finish(future: object) -> None:
            self.method_queue.defer(self.finish_request, connection, future)

        self.tpool.submit(task).add_done_callback(finish)


def _is_done(connection: TConn) -> bool:
    """Tell whether an answer has been sent, and nothing read of what follows its request."""
    try:
        return connection.sock.send_now() and not connection.parser.unreader.buf.getvalue()
    except OSError:
        return False
