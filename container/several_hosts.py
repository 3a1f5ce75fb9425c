"""A job of several hosts: they meet, keep one model together, and leave together."""

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import msgspec
import numpy as np

from container.job import TrainingJob
from container.model_keeper import Keeper, ModelKeeper
from container.settings import Paths
from fm_algo.distributed.group import HostGroup, open_store
from fm_algo.distributed.host_kernel import HostKernel
from fm_algo.distributed.select import make_kernel
from fm_algo.distributed.shared_rows import RowService
from fm_algo.distributed.watch import LIMIT_S, Watch
from fm_algo.errors import PlatformError
from fm_algo.kernels import Kernel
from fm_algo.model import FMModel
from fm_algo.peers import Peers
from fm_algo.progress import Notes, Progress
from fm_algo.trainer import BatchReport

_log = logging.getLogger("fm_algo")


class SeveralHosts:
    """The hosts of a job, connected; see `container.cluster.Cluster`.

    Parameters
    ----------
    job : TrainingJob
    group : HostGroup
    watch : Watch
    stop : threading.Event
    """

    def __init__(
        self, job: TrainingJob, group: HostGroup, watch: Watch, stop: threading.Event
    ) -> None:
        self._job = job
        self._group = group
        self._watch = watch
        self._kernel = make_kernel(job.hyperparameters, group, stop.is_set)
        self.kernel: Kernel = self._kernel
        self.peers: Peers = self._kernel

    @classmethod
    def meet(
        cls, job: TrainingJob, address: str, port: int, stop: threading.Event, deadline: float
    ) -> Self | None:
        """Wait until all hosts are there, and connect them.

        Parameters
        ----------
        job : TrainingJob
        address : str
            The leader's.
        port : int
        stop : threading.Event
            Ends the waiting.
        deadline : float
            A reading of `time.monotonic`.

        Returns
        -------
        SeveralHosts or None
            None once `stop` is set.

        Raises
        ------
        FMError
            If a host has not come by then, has failed or is lost, or they cannot be connected.
        """
        hosts, rank = job.resources.hosts, job.resources.rank
        try:
            store = open_store(address, port, is_leader=rank == 0, timeout_s=LIMIT_S)
            own = open_store(address, port, is_leader=False, timeout_s=LIMIT_S)
        except PlatformError as error:
            if stop.is_set():
                return None  # and so is the leader, who has left
            raise error.within(f"host {hosts[0]}, which leads") from error
        watch = Watch(own, rank, hosts, stop)
        watch.start()
        _log.info("host %d of %d is here: waiting for the others", rank + 1, len(hosts))
        try:
            if not watch.meet(deadline):
                watch.leave()
                watch.end()
                return None
            group = HostGroup(store, rank, hosts, watch)
            together = cls(job, group, watch, stop)
        except Exception as error:
            watch.report(error)
            watch.end()
            raise
        _log.info("host %d of %d: %s", rank + 1, len(hosts), ", ".join(hosts))
        return together

    def writable_model(self) -> FMModel:
        """Return what takes the initial parameters of all features, and keeps this host's."""
        return self._kernel.writable_model()

    def keeper(self, paths: Paths) -> Keeper:
        """Return what keeps the model of all."""
        return SharedKeeper(paths, self._job, self._kernel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave when all do, or tell the others why not."""
        if error is None:
            self._group.gather(np.zeros(1, np.int64))
            self._watch.leave()
            self._watch.end()
            self._group.close()
        else:
            self._watch.report(error)
            self._watch.end()


class SharedKeeper:
    """The leader's `ModelKeeper`; the other hosts lend it their rows.

    All hosts call the same methods in the same order. Only the leader writes files.

    Parameters
    ----------
    paths : Paths
    job : TrainingJob
    kernel : HostKernel

    Raises
    ------
    UserError, PlatformError
        As `ModelKeeper`.

    Attributes
    ----------
    progress, notes, is_resumed
        As of `ModelKeeper`; of an epoch's metrics so far each host has its part.
    """

    def __init__(self, paths: Paths, job: TrainingJob, kernel: HostKernel) -> None:
        self._kernel = kernel
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
        if kernel.rank > 0:  # the leader has all that was summed up
            nothing = dict.fromkeys(self.progress.sums, 0.0)
            self.progress = msgspec.structs.replace(self.progress, sums=nothing)

    def take_rows(self, rows: dict[str, str], buffer_bytes: int | None) -> None:
        """Take note of what is trained on."""
        self.notes = msgspec.structs.replace(
            self.notes, num_hosts=self._kernel.size, rows=rows, buffer_bytes=buffer_bytes
        )

    def batch_done(self, report: BatchReport) -> None:
        """Write a checkpoint after a mini-batch, if it is time."""
        if self._kernel.checkpoint_agreed:
            of_all = self._of_all(report.progress)
            self._lead(lambda keeper: keeper.write_checkpoint(of_all))

    def epoch_done(self, progress: Progress, notes: Notes, *, is_best: bool) -> None:
        """Take note of an epoch: save the model if it is the best, and write a checkpoint."""
        self.progress, self.notes = progress, notes
        self._lead(lambda keeper: keeper.epoch_done(progress, notes, is_best=is_best))

    def end(self) -> bool:
        """See that the model is in its place; return whether kernels have others than before."""
        answer = 0

        def end(keeper: ModelKeeper) -> None:
            nonlocal answer
            answer = int(keeper.end())

        self._lead(end)
        return bool(self._kernel.gather([answer])[0, 0])

    def stop(self) -> None:
        """Save the model, then how far training is, because the platform says so."""
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
        """Do the work at the leader, while the others serve."""
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
