"""Find the other hosts of a job and give each host its learner; one host alone needs no search.

If a host uses several GPUs, each GPU has its own process, which counts as a host.
"""

import contextlib
import fcntl
import importlib.util
import ipaddress
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from container.settings import Paths, quiet_torch, take_errors_of_nccl, use_interface
from container.training.job import Resources, TrainingJob
from container.training.model_keeper import Keeper, ModelKeeper
from fm_algo.errors import PlatformError, UserError
from fm_algo.training.gradient.select import count_gpus
from fm_algo.training.learner import Learner
from fm_algo.training.peers import Alone, Peers
from fm_algo.training.select import make_learner, trains_alone

_log = logging.getLogger("fm_algo")
_T = TypeVar("_T")

MEETING_S = 900.0
"""How long hosts wait for each other: names may resolve late, and instances may start late."""

_LOOPBACK = "127.0.0.1"
_LONGEST_PAUSE_S = 5.0
_SIOCGIFADDR = 0x8915  # netdevice(7)


class Cluster(Protocol):
    """The hosts (or processes) of a job, as one of them sees them.

    Attributes
    ----------
    learner : Learner
        The learner of this host; its parameters are 0.
    peers : Peers
    """

    learner: Learner
    peers: Peers

    def keeper(self, paths: Paths) -> Keeper:
        """Return the keeper of the model, resumed from any checkpoint; all hosts must call this."""
        ...


class OneHost:
    """A job of one process.

    Parameters
    ----------
    job : TrainingJob
    stop : threading.Event
        Set when the job must end.
    """

    def __init__(self, job: TrainingJob, stop: threading.Event) -> None:
        self._job = job
        self.learner = make_learner(job.hyperparameters, space=job.space)
        self.peers: Peers = Alone(stop.is_set)

    def keeper(self, paths: Paths) -> Keeper:
        """Return the keeper of the model."""
        return ModelKeeper(paths, self._job, self.learner)


def join(
    job: TrainingJob, port: int, stop: threading.Event, most_gpus: int = 1
) -> AbstractContextManager[Cluster] | None:
    """Find the other hosts of a job, if it has any, and start a process for each further GPU.

    Parameters
    ----------
    job : TrainingJob
    port : int
        The leader's port, where hosts meet.
    stop : threading.Event
        Ends the waiting. Once set on one host, it is soon set on all.
    most_gpus : int, optional
        Most GPUs per host to use.

    Returns
    -------
    context manager of a Cluster, or None
        Its hosts leave together. None if `stop` was set before all hosts had come.

    Raises
    ------
    UserError
        If the job asks for GPUs that are missing or cannot share the model, if hosts have different
        numbers of GPUs, or if there is no torch for several hosts.
    PlatformError
        If hosts do not come in time or cannot be connected.
    """
    quiet_torch()
    take_errors_of_nccl()
    num_hosts = len(job.resources.hosts)
    # The hosts of a job are alike, so each finds out by itself that it lacks a GPU.
    is_alone = job.gpu > 0 or trains_alone(job.hyperparameters, num_hosts)
    own_gpus = 0 if is_alone else count_gpus(job.hyperparameters, num_hosts, most_gpus)
    deadline = time.monotonic() + MEETING_S
    address: str | None
    if num_hosts > 1:
        _check_torch(num_hosts)
        address = find_leader(job.resources, port, stop, deadline)
    elif job.gpu == 0 and own_gpus <= 1:
        return contextlib.nullcontext(OneHost(job, stop))
    else:
        address, port = _LOOPBACK, port if job.gpu else 0
        use_interface("lo")
    if address is None:
        return None
    # Imported here: torch takes seconds and 200 MB, which a single host need not pay.
    from container.training.several_hosts import SeveralHosts  # noqa: PLC0415

    return SeveralHosts.meet(job, address, port, stop, deadline, own_gpus)


def _check_torch(num_hosts: int) -> None:
    """Check that there is what hosts exchange their numbers by."""
    if importlib.util.find_spec("torch") is None:
        raise UserError(
            f"{num_hosts} hosts exchange their numbers by torch, which this image lacks: build it "
            "without TORCH=none, or use one instance"
        )


def find_leader(
    resources: Resources, port: int, stop: threading.Event, deadline: float
) -> str | None:
    """Wait until the leader's name resolves and, if it is another host, the leader listens.

    Returns
    -------
    str or None
        Its address; None once `stop` is set.

    Raises
    ------
    PlatformError
        After `deadline`, on the clock of `time.monotonic`.
    """
    leader = resources.hosts[0]

    def resolve() -> str:
        found = socket.getaddrinfo(leader, port, type=socket.SOCK_STREAM)
        return str(found[0][4][0])

    address = _retry(resolve, f"the name of host {leader} to resolve", stop, deadline)
    if address is None:
        return None
    interface = choose_interface(resources.network_interface_name, address)
    if interface is not None:
        use_interface(interface)
    if resources.rank == 0:
        return address

    def connect() -> str:
        with socket.create_connection((address, port), _LONGEST_PAUSE_S):
            return address

    return _retry(connect, f"host {leader} to listen at {address}:{port}", stop, deadline)


def _retry(
    attempt: Callable[[], _T], what: str, stop: threading.Event, deadline: float
) -> _T | None:
    """Repeat `attempt` at growing intervals until it works; None once `stop` is set."""
    pause_s = 0.1
    while not stop.is_set():
        try:
            return attempt()
        except OSError as error:
            if time.monotonic() > deadline:
                raise PlatformError(f"waited {MEETING_S:g} s for {what}: {error}") from error
            if pause_s == _LONGEST_PAUSE_S:
                _log.warning("waiting for %s: %s", what, error)
        stop.wait(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    return None


def choose_interface(named: str | None, address: str) -> str | None:
    """Choose the network interface for reaching the other hosts.

    Parameters
    ----------
    named : str or None
        The interface the platform names. It is used if it exists; one SDK names one that does not.
    address : str
        The leader's address.

    Returns
    -------
    str or None
        The named interface, or else the one that reaches the leader; None if that is unknown.
    """
    names = [name for _, name in socket.if_nameindex()]
    if named in names:
        return named
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))  # sends nothing, so any port works
        except OSError:
            return None
        own = str(probe.getsockname()[0])
        if ipaddress.ip_address(own.partition("%")[0]).is_loopback:
            return "lo"
        return next((name for name in names if _address_of(name) == own), None)


def _address_of(interface: str) -> str | None:
    """Return an interface's IPv4 address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("256s", interface.encode()[:15])
        try:
            answer = fcntl.ioctl(any_socket, _SIOCGIFADDR, request)
        except OSError:
            return None
    return socket.inet_ntoa(answer[20:24])
