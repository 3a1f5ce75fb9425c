"""Notice lost hosts: each host sends a heartbeat every second, and reads those of the others."""

import contextlib
import math
import threading
import time
from collections.abc import Sequence
from typing import NoReturn

import msgspec
from torch.distributed.distributed_c10d import Store

from fm_algo.errors import AlgorithmError, FMError, PlatformError, UserError, as_told

_BEAT_S = 1.0
_MEETING_BEAT_S = 0.1

LIMIT_S = 30.0
"""Silence, in seconds, after which a host counts as lost."""

_LIMIT_AFTER_BREAK_S = 5.0
"""The same after a connection broke: some host is gone, only its name is not known yet."""

_KINDS: tuple[type[FMError], ...] = (UserError, AlgorithmError, PlatformError)
_FAILURE = "failure"
_NO_FAILURE = "-"
_MEETING, _ALL_HERE, _STOPPED = "meeting", b"all are here", b"a host is to stop"
_NOTHING = ""


class _Failure(msgspec.Struct, frozen=True):
    kind: str
    message: str


class Watch:
    """The heartbeats of a job's hosts, over the store that the leader keeps.

    Heartbeats also carry a wish to stop: a SIGTERM to one host stops all.

    Parameters
    ----------
    store : torch.distributed.Store
        A connection for the watch alone: a missing answer must not make anything else wait.
    rank : int
        Number of this host. Host 0, the leader, keeps the store.
    hosts : sequence of str
        Names of all hosts.
    stop : threading.Event
        Set on this host once it is set on any host.
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
        self._meeting = b""
        self._failure: _Failure | None = None
        self._store_error: Exception | None = None
        self._loss: PlatformError | None = None
        self._is_store_lost = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Start the heartbeats; from now on the other hosts notice if this host is lost."""
        self._round_at = time.monotonic()
        self._thread.start()

    def meet(self, deadline: float = math.inf) -> bool:
        """Wait until all hosts are there; the leader decides for all whether they are.

        Parameters
        ----------
        deadline : float, optional
            A time of `time.monotonic`; only the leader's counts.

        Returns
        -------
        bool
            False if a host is to stop before all are there.

        Raises
        ------
        FMError
            If a host has not come by the deadline, has failed, or is lost again.
        """
        while not self._meeting:
            if self._stop.is_set() and self._store_error is not None:
                return False  # the leader was told to stop too, and has left
            self.check()
            if self._rank == 0:
                self._decide(deadline)
            time.sleep(_MEETING_BEAT_S)
        return self._meeting == _ALL_HERE

    def check(self) -> None:
        """Raise the error that made another host fail, or an error if a host is lost."""
        self._check(LIMIT_S)

    def blame(self, error: PlatformError) -> NoReturn:
        """Find out which host broke a connection and raise its error, or else the given one."""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            self._check(_LIMIT_AFTER_BREAK_S)
            time.sleep(_BEAT_S / 4)
        raise error

    def report(self, error: BaseException) -> None:
        """Tell the others why this host fails, and give them time to hear it."""
        if self._failure is None and not self._is_store_lost:
            told = as_told(error)
            place = "" if error is self._loss else f"host {self._hosts[self._rank]}: "
            self._say(_Failure(type(told).__name__, place + told.message))
        if self._rank == 0:  # the store ends with this process
            time.sleep(3 * _BEAT_S)

    def tell(self, rank: int, how: str) -> None:
        """Tell all hosts that one of them is lost, unless they already know of a failure."""
        message = f"host {self._hosts[rank]} was lost: {how}"
        self._say(_Failure(PlatformError.__name__, message))

    def leave(self) -> None:
        """Say that this host no longer needs the others; the leader waits until all have left."""
        deadline = time.monotonic() + _LIMIT_AFTER_BREAK_S
        left = [f"left {number}" for number, beat in enumerate(self._beats) if beat]
        with contextlib.suppress(RuntimeError):  # it does not matter any more
            self._store.set(f"left {self._rank}", "")
            while self._rank == 0 and not self._store.check(left) and time.monotonic() < deadline:
                time.sleep(_BEAT_S / 100)

    def end(self) -> None:
        """End the heartbeats, because the job is over."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(_BEAT_S)

    def _say(self, failure: _Failure) -> None:
        """Write a failure to the store, if it is the first one."""
        said = msgspec.json.encode(failure).decode()

        def say() -> None:
            with contextlib.suppress(RuntimeError):
                self._store.compare_set(_FAILURE, _NO_FAILURE, said)

        saying = threading.Thread(target=say, name="failure", daemon=True)
        saying.start()
        saying.join(_LIMIT_AFTER_BREAK_S)  # a store whose host is lost may never answer

    def _decide(self, deadline: float) -> None:
        """Decide for all hosts whether they have met, once that is known."""
        missing = [host for host, beat in zip(self._hosts, self._beats, strict=True) if not beat]
        if not missing:
            self._store.compare_set(_MEETING, _NOTHING, _ALL_HERE.decode())
        elif self._stop.is_set():
            self._store.compare_set(_MEETING, _NOTHING, _STOPPED.decode())
        elif time.monotonic() > deadline:
            raise PlatformError(f"host {', '.join(missing)} did not come in time")

    def _run(self) -> None:
        count = 0
        try:
            self._come()
            while not self._over.wait(_BEAT_S if self._meeting else _MEETING_BEAT_S):
                count += 1
                self._beat(count)
                self._listen()
        except RuntimeError as error:  # torch's own errors are of this type
            self._store_error = error

    def _come(self) -> None:
        """Set up the store, if this host leads; read it, and check that this host is new."""
        if self._rank == 0:
            for key in [*self._keys, _MEETING]:
                self._store.set(key, _NOTHING)
            self._store.set(_FAILURE, _NO_FAILURE)
        self._listen()
        if self._beats[self._rank]:
            self.report(PlatformError("it was here before: one that starts again cannot come back"))
            self._listen()
            self._over.set()

    def _beat(self, count: int) -> None:
        self._store.set(self._keys[self._rank], f"{count} {int(self._stop.is_set())}")

    def _listen(self) -> None:
        *beats, meeting, failure = self._store.multi_get([*self._keys, _MEETING, _FAILURE])
        now = time.monotonic()
        for number, beat in enumerate(beats):
            if beat != self._beats[number]:
                self._beats[number], self._heard_at[number] = beat, now
            if beat.endswith(b"1"):
                self._stop.set()
        self._meeting = meeting
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
                return  # this process itself stood still
            self._is_store_lost = True  # to ask it now would take long
            silent = [self._hosts[0]]
        else:
            # As of the last round: since then the leader may be the one that is silent.
            heard = zip(self._hosts, self._beats, self._heard_at, strict=True)
            silence = [(host, self._round_at - heard_at) for host, beat, heard_at in heard if beat]
            silent = [host for host, silence_s in silence if silence_s > limit_s]
        if silent:
            which = (
                f"host {silent[0]} was" if len(silent) == 1 else f"hosts {', '.join(silent)} were"
            )
            raise self._lost(f"{which} lost: nothing was heard of it for {limit_s:g} s")

    def _lost(self, message: str) -> PlatformError:
        self._loss = PlatformError(message)
        return self._loss
