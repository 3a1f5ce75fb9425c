"""Run the process of a further GPU of a host.

``python -m container.training.gpu_process GPU PORT [TOLD]``
"""

import sys

from container.training.stop_signal import listen

listen()  # before the imports, which take seconds

from container.training.train_job import main_of_gpu  # noqa: E402

if __name__ == "__main__":
    main_of_gpu(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
