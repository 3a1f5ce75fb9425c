"""Start and end the processes of a host's further GPUs; the process of its first GPU does it."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable

import msgspec

from container.settings import environment_of_gpu
from container.training.job import TrainingJob
from fm_algo.data.tables.moves import Move

PROGRAM = ("-P", "-m", "container.training.gpu_process")
"""The program they run: `container/training/gpu_process.py`."""

_Told = tuple[int, tuple[Move, ...] | None]
"""What the process of a further GPU must know of tables: feature_dim and moves."""

_END_S = 20.0
"""How long they may take to end after this process has finished."""


class GPUProcesses:
    """The processes that this one has started; at first there are none.

    They run in step with this one. They learn of its failures and of a SIGTERM as other hosts do.
    """

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._waits: list[threading.Thread] = []
        self._is_ending = False

    def start(
        self, num_gpus: int, port: int, job: TrainingJob, lost: Callable[[int, str], None]
    ) -> None:
        """Start one process for each GPU but the first.

        Parameters
        ----------
        num_gpus : int
            Number of all GPUs, including the first.
        port : int
            The port where they meet this process.
        job : TrainingJob
            Of this process, whose tables are learnt if it has any.
        lost : callable
            Gets the GPU number of a process that has failed, and how it ended.
        """
        told = [] if job.tables is None else [_tell(job)]
        for gpu in range(1, num_gpus):
            arguments = [str(gpu), str(port), *told]
            process = subprocess.Popen(  # noqa: S603 - this very program
                [sys.executable, *PROGRAM, *arguments], env=environment_of_gpu(gpu)
            )
            wait = threading.Thread(target=self._wait, args=(gpu, process, lost), daemon=True)
            wait.start()
            self._processes.append(process)
            self._waits.append(wait)

    def end(self, *, is_early: bool = False) -> None:
        """Wait until all have ended by themselves; kill those that take too long.

        Parameters
        ----------
        is_early : bool, optional
            Whether some may not know yet that there is nothing left to do.
        """
        self._is_ending = True
        deadline = time.monotonic() + _END_S
        for process in self._processes:
            if is_early:
                process.terminate()
        for process, wait in zip(self._processes, self._waits, strict=True):
            wait.join(max(deadline - time.monotonic(), 0))
            process.kill()  # does nothing if it has ended
            wait.join()

    def _wait(
        self, gpu: int, process: subprocess.Popen[bytes], lost: Callable[[int, str], None]
    ) -> None:
        code = process.wait()
        if code and not self._is_ending:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            lost(gpu, f"its process ended with {how}")


def _tell(job: TrainingJob) -> str:
    told: _Told = (job.hyperparameters.feature_dim, job.moves)
    return msgspec.json.encode(told).decode()


def read_told(job: TrainingJob, text: str) -> TrainingJob:
    """Return the job of a further GPU with what the first process tells of its tables."""
    feature_dim, moves = msgspec.json.decode(text, type=_Told)
    return job.with_features(feature_dim, moves)
