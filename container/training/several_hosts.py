"""A job on several hosts: they meet, keep one model together, and leave together.

If a host trains on several GPUs, each of its processes counts as a host here.
"""

import faulthandler
import logging
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import msgspec
import numpy as np

from container.settings import Paths
from container.training.gpu_processes import GPUProcesses
from container.training.job import TrainingJob
from container.training.model_keeper import Keeper, ModelKeeper
from fm_algo.errors import PlatformError, UserError
from fm_algo.training.distributed.group import HostGroup, agree_on_number, open_store
from fm_algo.training.distributed.host_kernel import HostKernel
from fm_algo.training.distributed.select import make_kernel
from fm_algo.training.distributed.shared_rows import RowService
from fm_algo.training.distributed.watch import LIMIT_S, Watch
from fm_algo.training.peers import Peers
from fm_algo.training.progress import Notes, Progress
from fm_algo.training.report import BatchReport, EpochReport
from fm_algo.training.select import make_learner

_log = logging.getLogger("fm_algo")

_LONGEST_END_S = 25.0
"""How long a failed host may take to end."""


class SeveralHosts:
    """The hosts of a job, connected; see `container.training.cluster.Cluster`.

    Parameters
    ----------
    job : TrainingJob
    group : HostGroup
    watch : Watch
    stop : threading.Event
    num_gpus : int
        GPUs per host; 0 means that processors train.
    others : GPUProcesses
        The processes that this one has started.
    """

    def __init__(
        self,
        job: TrainingJob,
        group: HostGroup,
        watch: Watch,
        stop: threading.Event,
        num_gpus: int,
        others: GPUProcesses,
    ) -> None:
        self._job = job
        self._group = group
        self._watch = watch
        self._others = others
        self._kernel = make_kernel(job.hyperparameters, group, stop.is_set, num_gpus)
        self.learner = make_learner(job.hyperparameters, self._kernel)
        self.peers: Peers = self._kernel

    @classmethod
    def meet(
        cls,
        job: TrainingJob,
        address: str,
        port: int,
        stop: threading.Event,
        deadline: float,
        own_gpus: int,
    ) -> Self | None:
        """Wait until all hosts have come, and connect them.

        Parameters
        ----------
        job : TrainingJob
        address : str
            The leader's address.
        port : int
            The leader's port.
        stop : threading.Event
            Ends the waiting.
        deadline : float
            On the clock of `time.monotonic`.
        own_gpus : int
            How many GPUs this host trains on; ignored in the process of a further GPU.

        Returns
        -------
        SeveralHosts or None
            None once `stop` is set.

        Raises
        ------
        FMError
            If a host has not come by the deadline, has failed or is lost; if they cannot be
            connected; or if they train on different numbers of GPUs.
        """
        hosts, number = job.resources.hosts, job.resources.rank
        is_leader = number == job.gpu == 0
        try:
            store = open_store(address, port, is_leader=is_leader, timeout_s=LIMIT_S)
            own = open_store(address, store.port, is_leader=False, timeout_s=LIMIT_S)
            num_gpus = agree_on_number(own, "GPUs", own_gpus, is_leader=is_leader)
        except PlatformError as error:
            if stop.is_set():
                return None  # the leader was stopped, too, and has left
            raise error.within(f"host {hosts[0]}, which leads") from error
        names = _name_processes(hosts, num_gpus)
        rank = number * max(num_gpus, 1) + job.gpu
        watch = Watch(own, rank, names, stop)
        watch.start()
        _log.info("host %d of %d is here: waiting for the others", number + 1, len(hosts))
        others = GPUProcesses()

        def lost(gpu: int, how: str) -> None:
            if not stop.is_set():  # after a stop it may have ended before it could listen
                watch.tell(rank + gpu, how)

        try:
            if job.gpu == 0:
                _check_gpus(own_gpus, num_gpus, hosts[number], hosts[0])
                others.start(num_gpus, store.port, job, lost)
            if not watch.meet(deadline):
                watch.leave()
                watch.end()
                others.end(is_early=True)
                return None
            group = HostGroup(store, rank, names, watch)
            together = cls(job, group, watch, stop, num_gpus, others)
        except Exception as error:
            watch.report(error)
            watch.end()
            others.end(is_early=True)
            raise
        _log.info("host %d of %d: %s", number + 1, len(hosts), ", ".join(names))
        return together

    def keeper(self, paths: Paths) -> Keeper:
        """Return the keeper of the model of all hosts."""
        return SharedKeeper(paths, self._job, self._kernel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave together with all hosts, or tell the others why this one failed."""
        is_early = True
        try:
            if error is None:
                self._group.gather(np.zeros(1, np.int64))
                self._watch.leave()
                self._watch.end()
                self._group.close()
                is_early = False
            else:
                # End this process even if library code still waits for a lost host.
                faulthandler.dump_traceback_later(_LONGEST_END_S, exit=True)
                self._watch.report(error)
                self._watch.end()
        finally:
            self._others.end(is_early=is_early)


def _check_gpus(own: int, of_leader: int, host: str, leader: str) -> None:
    """Check that this host trains on as many GPUs as the leader."""
    if own != of_leader:
        raise UserError(
            f"host {host} has {own} GPUs to train on, and host {leader} {of_leader}: all must have "
            "as many; use instances of one type, FM_GPUS, or device=cpu"
        )


def _name_processes(hosts: Sequence[str], num_gpus: int) -> list[str]:
    """Name the processes of all hosts, in order."""
    if num_gpus <= 1:
        return list(hosts)
    return [f"{host} (GPU {gpu})" for host in hosts for gpu in range(num_gpus)]


class SharedKeeper:
    """The leader's `ModelKeeper`; the other hosts send it their rows of the model.

    All hosts call the same methods in the same order. Only the leader writes files.

    Parameters
    ----------
    paths : Paths
    job : TrainingJob
    kernel : HostKernel

    Raises
    ------
    UserError, PlatformError
        As from `ModelKeeper`.

    Attributes
    ----------
    progress, notes, is_resumed
        As in `ModelKeeper`, but each host has only its part of an epoch's metrics so far.
    """

    def __init__(self, paths: Paths, job: TrainingJob, kernel: HostKernel) -> None:
        self._kernel = kernel
        self._num_hosts = len(job.resources.hosts)
        self._service = RowService(kernel)
        self._keeper: ModelKeeper | None = None
        if kernel.rank == 0:
            self._keeper = ModelKeeper(paths, job, self._service)
            self._service.dismiss()
            kernel.is_checkpoint_due = lambda: self._leading.is_checkpoint_due
        else:
            self._service.serve()
        found = b""
        if self._keeper is not None:
            keeper = self._keeper
            found = msgspec.json.encode((keeper.progress, keeper.notes, keeper.is_resumed))
        self.progress, self.notes, self.is_resumed = msgspec.json.decode(
            kernel.group.share(found), type=tuple[Progress, Notes, bool]
        )
        if kernel.rank > 0:  # the leader holds the sums of all hosts
            nothing = dict.fromkeys(self.progress.sums, 0.0)
            self.progress = msgspec.structs.replace(self.progress, sums=nothing)

    def take_rows(self, rows: dict[str, str], buffer_bytes: int | None) -> None:
        """Note what the job trains on; each of several hosts has its own rows."""
        if self._keeper is not None:
            self._keeper.take_rows(rows, buffer_bytes)
        self.notes = msgspec.structs.replace(
            self.notes, num_hosts=self._num_hosts, rows=rows, buffer_bytes=buffer_bytes
        )

    def begin(self) -> None:
        """Put the best model so far in its place."""
        self._lead(lambda keeper: keeper.begin())

    def batch_done(self, report: BatchReport) -> None:
        """Write a checkpoint after a mini-batch, if one is due."""
        if self._kernel.checkpoint_agreed:
            of_all = self._of_all(report.progress)
            self._lead(lambda keeper: keeper.write_checkpoint(of_all))

    def epoch_done(self, report: EpochReport) -> None:
        """Note the end of an epoch: save the model if it is the best, and write a checkpoint."""
        self.progress = report.progress
        if report.is_whole:
            self._lead(lambda keeper: keeper.epoch_done(report))
            self.notes = self.notes.after(report.num_rows, report.num_batches)

    def end(self) -> bool:
        """Put the model in its place; return whether the kernels' parameters have changed."""
        answer = 0

        def end(keeper: ModelKeeper) -> None:
            nonlocal answer
            answer = int(keeper.end())

        self._lead(end)
        return bool(self._kernel.gather([answer])[0, 0])

    def stop(self) -> None:
        """Save the model, then a checkpoint, because the platform stops the job."""
        of_all = self._of_all(self.progress)

        def stop(keeper: ModelKeeper) -> None:
            keeper.progress = of_all
            keeper.stop()

        self._lead(stop)

    @property
    def _leading(self) -> ModelKeeper:
        if self._keeper is None:
            raise RuntimeError("only the leader keeps the model")
        return self._keeper

    def _lead(self, work: Callable[[ModelKeeper], None]) -> None:
        """Do the work on the leader, while the other hosts serve their rows."""
        if self._keeper is None:
            self._service.serve()
        else:
            self._keeper.notes = self.notes
            work(self._keeper)
            self._service.dismiss()

    def _of_all(self, progress: Progress) -> Progress:
        """Add up an epoch's metrics so far over all hosts."""
        if not progress.sums:
            return progress
        totals = self._kernel.add_up(np.array([*progress.sums.values()]))
        sums = dict(zip(progress.sums, totals.tolist(), strict=True))
        return msgspec.structs.replace(progress, sums=sums)
