"""Start and end the processes of a host's further GPUs; the process of its first GPU does it."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable

from container.settings import environment_of_gpu

PROGRAM = ("-P", "-m", "container.training.gpu_process")
"""The program they run: `container/training/gpu_process.py`."""

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

    def start(self, num_gpus: int, port: int, lost: Callable[[int, str], None]) -> None:
        """Start one process for each GPU but the first.

        Parameters
        ----------
        num_gpus : int
            Number of all GPUs, including the first.
        port : int
            The port where they meet this process.
        lost : callable
            Gets the GPU number of a process that has failed, and how it ended.
        """
        for gpu in range(1, num_gpus):
            process = subprocess.Popen(  # noqa: S603 - this very program
                [sys.executable, *PROGRAM, str(gpu), str(port)], env=environment_of_gpu(gpu)
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
