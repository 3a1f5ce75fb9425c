"""Exchange arrays in a group of hosts; the only module that knows torch.distributed's calls.

Every wait ends as soon as `Watch` finds that a host has failed or is lost.
"""

import contextlib
import copy
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Generic, Self, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch.distributed import TCPStore  # type: ignore[attr-defined] # public, says its manual
from torch.distributed.distributed_c10d import Store, Work

from fm_algo.errors import PlatformError
from fm_algo.sparse import Int64Array
from fm_algo.training.distributed.watch import Watch

_N = TypeVar("_N", bound=np.generic)

_LOOK_S = 1.0
"""Seconds between checks, during a wait, that the other hosts are still there."""

_POLL_S = 1e-4
"""Seconds between checks, during a wait for a device, that it is done."""

_ADDED_AT_ONCE = 1 << 16
_CONNECTING_S = 30.0
_ANSWER_S = 60.0  # longest wait for the store; `Watch` notices earlier
_NO_LIMIT = timedelta(days=365)  # `Watch` ends waits; hosts may be as slow as they like


class Pending(Generic[_N]):
    """An array that is being received.

    Parameters
    ----------
    work : torch.distributed.Work
        Keeps the arrays sent and received alive until it is done.
    array : array
        The array that is filled.
    watch : Watch
    """

    def __init__(self, work: Work, array: NDArray[_N], watch: Watch) -> None:
        self._work = work
        self._array = array
        self._watch = watch
        self._is_there = False

    def wait(self) -> NDArray[_N]:
        """Wait until the array is there, and return it.

        Raises
        ------
        FMError
            If another host has failed, with its error, or if a host is lost.
        """
        while not self._is_there:
            is_over = (
                self._work.is_completed()
            )  # asked before: it may end just after the time is up
            try:
                self._work.wait(timedelta(seconds=_LOOK_S))
            except RuntimeError as error:
                if is_over:
                    broken = PlatformError(f"the connection between the hosts broke: {error}")
                    self._watch.blame(broken)
                self._watch.check()
            else:
                self._is_there = True
        return self._array


class HostGroup:
    """All hosts of a job.

    After a wait has ended in an error, the group is of no use any more, and its threads may wait
    for ever. The process should then end.

    Parameters
    ----------
    store : torch.distributed.Store
    rank : int
    hosts : sequence of str
        Names; the first leads.
    watch : Watch
        It is running, and all hosts are there.

    Raises
    ------
    FMError
        If the hosts cannot be connected. It says why, as far as the watch can tell.
    """

    def __init__(self, store: Store, rank: int, hosts: Sequence[str], watch: Watch) -> None:
        self.rank = rank
        self.size = len(hosts)
        self._watch = watch
        self._beside: list[HostGroup] = []
        self._on_device: list[DeviceGroup] = []
        with self._connecting():
            dist.init_process_group(
                "gloo",
                store=store,
                rank=rank,
                world_size=self.size,
                timeout=timedelta(seconds=_CONNECTING_S),
            )
            self._connect(dist.distributed_c10d._get_default_group())

    def beside(self) -> Self:
        """Connect the same hosts once more, for exchanges by another thread.

        If two threads shared one group, their calls could have another order on another host.
        """
        other = copy.copy(self)
        with self._connecting():
            other._connect(dist.new_group(timeout=timedelta(seconds=_CONNECTING_S)))
        self._beside.append(other)
        return other

    def on_device(self, device: torch.device) -> "DeviceGroup":
        """Connect the same hosts for numbers in their devices' memory."""
        with self._connecting():
            group = DeviceGroup(device, self._watch)
        self._on_device.append(group)
        return group

    @contextlib.contextmanager
    def _connecting(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            why = " ".join(str(error).split())  # NCCL's text has several lines
            self._watch.blame(PlatformError(f"the hosts cannot be connected: {why}"))

    def _connect(self, process_group: dist.ProcessGroup) -> None:
        self._process_group = process_group
        self.gather(np.zeros(1, np.int64))  # connects all pairs of hosts
        self._backend.set_timeout(_NO_LIMIT)

    @property
    def _backend(self) -> Any:  # noqa: ANN401 - torch gives it no type
        return self._process_group._get_backend(torch.device("cpu"))

    def exchange(
        self,
        outgoing: NDArray[_N],
        counts_out: Int64Array,
        counts_in: Int64Array,
        into: NDArray[_N] | None = None,
    ) -> Pending[_N]:
        """Send each host its part of an array, and receive a part from each.

        Parameters
        ----------
        outgoing : array, shape (sum of counts_out, …)
            Contiguous, one part after the other. Do not write to it until the result is there.
        counts_out, counts_in : int64, shape (size,)
            Length of the part to each host, and of the part from each host.
        into : array, optional
            Receives the parts, so it has the shape returned; by default a new array.

        Returns
        -------
        Pending
            Of shape (sum of counts_in, …), the parts in the order of the hosts.
        """
        shape = (int(counts_in.sum()), *outgoing.shape[1:])
        array = np.empty(shape, outgoing.dtype) if into is None else into
        work = dist.all_to_all_single(
            torch.from_numpy(array),
            torch.from_numpy(outgoing),
            counts_in.tolist(),
            counts_out.tolist(),
            group=self._process_group,
            async_op=True,
        )
        if work is None:
            raise PlatformError("this process is not a member of the group of hosts")
        return Pending(work, array, self._watch)

    def spread(self, own: NDArray[_N], counts: Int64Array) -> Pending[_N]:
        """Send the same array to all hosts, and receive the array of each.

        Parameters
        ----------
        own : array, shape (counts[rank], …)
        counts : int64, shape (size,)
            Length of each host's array.

        Returns
        -------
        Pending
            Of shape (sum of counts, …), in the order of the hosts.
        """
        copies = np.concatenate([own] * self.size)
        return self.exchange(copies, np.full(self.size, len(own)), counts)

    def gather_later(self, numbers: NDArray[_N]) -> Pending[_N]:
        """Begin to `gather`."""
        return self.spread(numbers[np.newaxis], np.ones(self.size, np.int64))

    def gather(self, numbers: NDArray[_N]) -> NDArray[_N]:
        """Return the numbers of all hosts, shape (size, …)."""
        return self.gather_later(numbers).wait()

    def add_up(self, numbers: NDArray[_N]) -> NDArray[_N]:
        """Add up over all hosts, each number in the order of the hosts."""
        total = np.zeros_like(numbers)
        flat, sums = numbers.reshape(-1), total.reshape(-1)
        for start in range(0, len(flat), _ADDED_AT_ONCE):
            part = slice(start, start + _ADDED_AT_ONCE)
            sums[part] = self.gather(np.ascontiguousarray(flat[part])).sum(axis=0)
        return total

    def share(self, content: bytes) -> bytes:
        """Return the leader's content on all hosts."""
        own = np.frombuffer(bytearray(content if self.rank == 0 else b""), np.uint8)
        length = int(self.gather(np.array([len(own)]))[0, 0])
        counts_in = np.zeros(self.size, np.int64)
        counts_in[0] = length
        counts_out = np.full(self.size, len(own), np.int64)
        sent = np.tile(own, self.size)
        return self.exchange(sent, counts_out, counts_in).wait().tobytes()

    def close(self) -> None:
        """Disconnect from the other hosts, which do the same."""
        groups: list[HostGroup | DeviceGroup] = [self, *self._beside, *self._on_device]
        for group in groups:
            del group._process_group  # its threads end with the last reference to it
        dist.destroy_process_group()


class DeviceGroup:
    """Adds up numbers in the memory of the hosts' devices, with NCCL if those are GPUs.

    Parameters
    ----------
    device : torch.device
        This host's device.
    watch : Watch
    """

    def __init__(self, device: torch.device, watch: Watch) -> None:
        self._device = device
        self._watch = watch
        is_cuda = device.type == "cuda"
        self._process_group = dist.new_group(
            backend="nccl" if is_cuda else "gloo", timeout=timedelta(seconds=_CONNECTING_S)
        )
        self.add_up(torch.zeros(1, device=device))  # connects all pairs of hosts
        if is_cuda:
            done = torch.cuda.Event()
            done.record()
            self.wait(done)
        self._backend.set_timeout(_NO_LIMIT)

    @property
    def _backend(self) -> Any:  # noqa: ANN401 - torch gives it no type
        return self._process_group._get_backend(self._device)

    def add_up(self, numbers: torch.Tensor) -> None:
        """Replace each number by its sum over all hosts; all hosts must call it.

        A GPU does this in order with the work of its present stream; the call does not wait.

        Raises
        ------
        FMError
            If another host has failed, or is lost, or the connection broke.
        """
        try:
            work = dist.all_reduce(numbers, group=self._process_group, async_op=True)
        except dist.DistBackendError as error:
            why = " ".join(str(error).split())
            self._watch.blame(PlatformError(f"the connection between the GPUs broke: {why}"))
        if work is None:
            raise PlatformError("this process is not a member of the group of hosts")
        if numbers.is_cuda:
            work.wait()  # makes the stream wait, not this thread
        else:
            Pending(work, numbers.numpy(), self._watch).wait()

    def wait(self, done: torch.cuda.Event) -> None:
        """Wait until the device has reached the event.

        Raises
        ------
        FMError
            If another host has failed, with its error, or if a host is lost: the device would wait
            for ever.
        """
        looked_at = time.monotonic()
        while not done.query():
            time.sleep(_POLL_S)
            if time.monotonic() - looked_at > _LOOK_S:
                self._watch.check()
                looked_at = time.monotonic()


def agree_on_number(store: Store, key: str, number: int, *, is_leader: bool) -> int:
    """Return the leader's number, which the leader stores under a key.

    Raises
    ------
    PlatformError
        If the store does not answer.
    """
    try:
        if is_leader:
            store.set(key, str(number))
        return int(store.get(key))
    except RuntimeError as error:
        raise PlatformError(f"the store of the hosts does not answer: {error}") from error


def open_store(address: str, port: int, *, is_leader: bool, timeout_s: float) -> TCPStore:
    """Open the leader's store, or connect to it.

    Parameters
    ----------
    address : str
        The leader's.
    port : int
        0 lets the leader take any free port.
    is_leader : bool
        Whether this host is the leader.
    timeout_s : float
        Longest time to wait, seconds.

    Raises
    ------
    PlatformError
        If the store cannot be opened or reached.
    """
    opened: queue.SimpleQueue[TCPStore | RuntimeError] = queue.SimpleQueue()

    def open_it() -> None:
        try:
            store = TCPStore(
                address,
                port,
                is_master=is_leader,
                wait_for_workers=False,
                timeout=timedelta(seconds=_ANSWER_S),
            )
        except RuntimeError as error:
            opened.put(error)
        else:
            opened.put(store)

    # In a thread: it waits for a process that stands still, whatever time limit it is given.
    threading.Thread(target=open_it, name="store", daemon=True).start()
    found: TCPStore | RuntimeError
    try:
        found = opened.get(timeout=timeout_s + 1)
    except queue.Empty:
        found = RuntimeError(f"no answer in {timeout_s:g} s")
    if isinstance(found, RuntimeError):
        what = "opened here" if is_leader else "reached"
        raise PlatformError(f"port {port} of {address} cannot be {what}: {found}") from found
    return found
