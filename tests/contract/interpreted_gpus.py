"""What `train` does on a host with so many GPUs, all of which Triton's interpreter plays.

python interpreted_gpus.py COUNT, and for what it starts itself: COUNT GPU PORT [TOLD]
"""

import functools
import sys

from container.training.stop_signal import listen

listen()

from container.training import cluster, gpu_processes, several_hosts, train_job  # noqa: E402

count, *gpu_and_port = map(int, sys.argv[1:4])
cluster.count_gpus = lambda *_: count
several_hosts.make_kernel = functools.partial(several_hosts.make_kernel, device="cpu")
gpu_processes.PROGRAM = (__file__, str(count))

if gpu_and_port:
    train_job.main_of_gpu(*gpu_and_port, *sys.argv[4:])
else:
    train_job.main()
