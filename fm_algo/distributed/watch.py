"""Who is still there: each host says every second that it is, and reads what the others say."""

import contextlib
import threading
import time
from collections.abc import Sequence
from typing import NoReturn

import msgspec
from torch.distributed.distributed_c10d import Store

from fm_algo.errors import AlgorithmError, FMError, PlatformError, UserError

_BEAT_S = 1.0

LIMIT_S = 30.0
"""Silence after which a host is lost."""

_LIMIT_AFTER_BREAK_S = 5.0
"""The same, once a connection has broken: some host is gone, only its name is wanted."""

_KINDS: tuple[type[FMError], ...] = (UserError, AlgorithmError, PlatformError)
_FAILURE = "failure"
_NO_FAILURE = "-"


class _Failure(msgspec.Struct, frozen=True):
    kind: str
    message: str


class Watch:
    """The heartbeats of a job's hosts, over the store that the leader keeps.

    A wish to stop travels with them: a SIGTERM to one host is one to all.

    Parameters
    ----------
    store : torch.distributed.Store
        A connection of its own: an answer that does not come must hold up nobody else.
    rank : int
    hosts : sequence of str
        Names; `rank` is this host, 0 the one that keeps the store.
    stop : threading.Event
        Set here once set at any host.
    """

    def __init__(
        self, store: Store, rank: int, hosts: Sequence[str], stop: threading.Event
    ) -> None:
        self._store = store
        self._rank = rank
        self._hosts = hosts
        self._stop = stop
        self._over = threading.Event()
        self._keys = [f"beat {number}" for number in range(len(hosts))]
        self._beats: list[bytes] = [b""] * len(hosts)
        self._heard_at = [time.monotonic()] * len(hosts)
        self._round_at = time.monotonic()
        self._failure: _Failure | None = None
        self._store_error: Exception | None = None
        self._loss: PlatformError | None = None
        self._is_store_lost = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def announce(self) -> None:
        """Say that this host is there; the leader must be the first."""
        if self._rank == 0:
            self._store.set(_FAILURE, _NO_FAILURE)
        self._beat(0)

    def missing(self) -> list[str]:
        """Name the hosts that have not announced themselves yet."""
        pairs = zip(self._hosts, self._keys, strict=True)
        return [host for host, key in pairs if not self._store.check([key])]

    def start(self) -> None:
        """Begin; all hosts have announced themselves."""
        self._round_at = time.monotonic()
        self._heard_at = [self._round_at] * len(self._hosts)
        self._thread.start()

    def check(self) -> None:
        """Raise what made another host fail, or that a host is lost."""
        self._check(LIMIT_S)

    def blame(self, error: Exception) -> NoReturn:
        """Find out which host is behind a broken connection, and raise that."""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            self._check(_LIMIT_AFTER_BREAK_S)
            time.sleep(_BEAT_S / 4)
        raise PlatformError(f"the connection between the hosts broke: {error}") from error

    def report(self, error: BaseException) -> None:
        """Tell the others why this host fails, and give them time to hear it."""
        if self._failure is None and not self._is_store_lost:
            kind = next((kind for kind in _KINDS if isinstance(error, kind)), AlgorithmError)
            text = error.message if isinstance(error, FMError) else f"internal error: {error}"
            message = text if error is self._loss else f"host {self._hosts[self._rank]}: {text}"
            failure = msgspec.json.encode(_Failure(kind.__name__, message)).decode()
            with contextlib.suppress(RuntimeError):
                self._store.compare_set(_FAILURE, _NO_FAILURE, failure)
        if self._rank == 0:  # the store goes with this process
            time.sleep(3 * _BEAT_S)

    def leave(self) -> None:
        """Say that this host needs the others no longer; the leader waits for all to say so."""
        self._store.set(f"left {self._rank}", "")
        deadline = time.monotonic() + _LIMIT_AFTER_BREAK_S
        left = [f"left {number}" for number in range(len(self._hosts))]
        while self._rank == 0 and not self._store.check(left) and time.monotonic() < deadline:
            time.sleep(_BEAT_S / 100)

    def end(self) -> None:
        """Fall silent, because the job is over."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(_BEAT_S)

    def _run(self) -> None:
        count = 0
        try:
            while not self._over.wait(_BEAT_S):
                count += 1
                self._beat(count)
                self._listen()
        except RuntimeError as error:  # torch's own kinds of it
            self._store_error = error

    def _beat(self, count: int) -> None:
        self._store.set(self._keys[self._rank], f"{count} {int(self._stop.is_set())}")

    def _listen(self) -> None:
        *beats, failure = self._store.multi_get([*self._keys, _FAILURE])
        now = time.monotonic()
        for number, beat in enumerate(beats):
            if beat != self._beats[number]:
                self._beats[number], self._heard_at[number] = beat, now
            if beat.endswith(b"1"):
                self._stop.set()
        if failure != _NO_FAILURE.encode():
            self._failure = msgspec.json.decode(failure, type=_Failure)
        self._round_at = now

    def _check(self, limit_s: float) -> None:
        if self._failure is not None:
            kind = next(kind for kind in _KINDS if kind.__name__ == self._failure.kind)
            raise kind(self._failure.message)
        if self._over.is_set():
            return
        if self._store_error is not None:
            self._is_store_lost = True
            raise self._lost(f"host {self._hosts[0]} was lost: it broke the connection")
        now = time.monotonic()
        if now - self._round_at > limit_s:
            if self._rank == 0:
                return  # this very process stood still
            self._is_store_lost = True  # what asks it now would wait for long
            silent = [self._hosts[0]]
        else:
            pairs = zip(self._hosts, self._heard_at, strict=True)
            silent = [host for host, heard_at in pairs if now - heard_at > limit_s]
        if silent:
            which = (
                f"host {silent[0]} was" if len(silent) == 1 else f"hosts {', '.join(silent)} were"
            )
            raise self._lost(f"{which} lost: nothing was heard of it for {limit_s:g} s")

    def _lost(self, message: str) -> PlatformError:
        self._loss = PlatformError(message)
        return self._loss
