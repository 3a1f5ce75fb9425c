"""gunicorn's threaded worker, with two differences.

A client that dawdles loses its connection, and we do not lose a thread. A thread is busy from the
first byte of a request to the last of its answer. A few clients that send or read a byte now and
then could keep all threads. So whoever is slower than a slow line is cut off, and a connection on
which nothing has come yet waits without a thread.

A request that is quick and has come as a whole is answered in the main loop. To hand it to a thread
and its connection back costs more than its answer, and threads that all want the interpreter lock
hinder each other.

Only this module and `paced_socket` lean on parts of gunicorn that it documents nowhere;
tests/unit/container/serving/test_gunicorn_parts.py names each of them.
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


class Connection(TConn):  # type: ignore[misc] # gunicorn carries no types
    """A connection of `PacedWorker`.

    Attributes
    ----------
    sock : PacedSocket
    goes_on : bool or None
        What a thread finds that has to send the rest of an answer: whether the client may ask
        again. None: there is no rest, the next request is to be answered.
    """

    goes_on: bool | None = None


class PacedWorker(ThreadWorker):  # type: ignore[misc] # gunicorn carries no types
    """Answers quick requests in the main loop, others in threads that no slow client can keep.

    Attributes
    ----------
    num_samples, row_width : callable
        What `quick_request.is_quick` asks of the models; set by who knows them.
    """

    num_samples: Callable[[bytes], int] = staticmethod(quick_request.no_samples)
    row_width: Callable[[bytes], int] = staticmethod(quick_request.no_samples)

    def accept(self, listener: socket.socket) -> None:
        """Take a connection, and a thread for it only once something has come."""
        try:
            accepted, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another worker was faster, or the client gave up
        connection = Connection(self.cfg, PacedSocket(accepted), address, listener.getsockname())
        connection.set_timeout()
        self.nr_conns += 1
        self.pending_conns.append(connection)
        readable = partial(self.on_pending_socket_readable, connection)
        self.poller.register(connection.sock, EVENT_READ, readable)

    def on_pending_socket_readable(self, connection: Connection, client: PacedSocket) -> None:
        """Answer the first request of a connection, in the main loop or a thread."""
        if self._answer_here(connection):
            self._keep(connection, self.pending_conns)
            readable = partial(self.on_client_socket_readable, connection)
            self.poller.modify(client, EVENT_READ, readable)
        else:
            super().on_pending_socket_readable(connection, client)

    def on_client_socket_readable(self, connection: Connection, client: PacedSocket) -> None:
        """Answer a further request of a connection, in the main loop or a thread."""
        if self._answer_here(connection):
            self._keep(connection, self.keepalived_conns)
        else:
            super().on_client_socket_readable(connection, client)

    def handle(self, connection: Connection) -> object:
        """Answer in a thread the request that has begun, or send what is left of an answer.

        Returns
        -------
        bool
            Whether the client may ask again.
        """
        client = connection.sock
        goes_on, connection.goes_on = connection.goes_on, None
        if goes_on is None:
            client.begin()
            goes_on = super().handle(connection)
        client.begin()
        try:
            client.flush()
        except OSError:
            goes_on = False
        if not goes_on:
            client.linger()
        return goes_on

    def handle_request(self, request: Request, connection: Connection) -> object:
        """Answer a request that has been parsed, and send the answer."""
        goes_on = super().handle_request(request, connection)
        connection.sock.flush()
        return goes_on

    def _answer_here(self, connection: Connection) -> bool:
        """Answer a quick request; tell whether that was done, and nothing is left for a thread."""
        client = connection.sock
        data = client.peek(quick_request.MAX_BYTES)
        if not quick_request.is_quick(data, self.num_samples, self.row_width):
            return False
        connection.data_ready = True
        client.hold()
        goes_on = super().handle(connection)
        if goes_on and _is_done(connection):
            return True
        connection.goes_on = goes_on
        return False

    def _keep(self, connection: Connection, waiting: deque[Connection]) -> None:
        """Let a connection wait for its next request, the last of all to be closed for silence."""
        waiting.remove(connection)
        connection.set_timeout()
        self.keepalived_conns.append(connection)


def _is_done(connection: Connection) -> bool:
    """Tell whether an answer has been sent, and nothing read of what follows its request."""
    try:
        return connection.sock.send_now() and not connection.parser.unreader.buf.getvalue()
    except OSError:
        return False
