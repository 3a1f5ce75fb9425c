"""gunicorn's configuration: module variables under the names of its settings."""

import gc

from gunicorn.arbiter import Arbiter

from container.serving.app import SERVED
from container.serving.invoker import MAX_REQUESTS
from container.serving.paced_worker import PacedWorker
from container.settings import Settings, shared_memory

_SETTINGS = Settings.from_environment()

wsgi_app = "container.serving.app:create_app()"
bind = f"0.0.0.0:{_SETTINGS.port}"  # the platform asks from outside the container

# The model is loaded before the workers are forked: they share its memory.
preload_app = True
workers = _SETTINGS.num_workers
worker_class = "container.serving.paced_worker.PacedWorker"
logger_class = "container.serving.server_log.ServerLog"
threads = 2 * MAX_REQUESTS  # what is left is for /ping, to refuse, and to load and unload models

timeout = _SETTINGS.worker_timeout_s
graceful_timeout = 20  # the platform kills 30 s after SIGTERM
keepalive = 75  # longer than the platform waits for an answer: it must not find a closed connection

worker_tmp_dir = shared_memory()  # for heartbeats; None: where Python finds room
# The control socket would be written to the home directory.
control_socket_disable = True

loglevel = _SETTINGS.log_level.lower()
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "format": "[%(asctime)s %(levelname)s %(process)d] %(message)s",
            "datefmt": "%m/%d/%Y %H:%M:%S",
        }
    },
    "handlers": {
        "stdout": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "stream": "ext://sys.stdout",
        },
        "refusals": {
            "class": "container.serving.refusal_log.RefusalLog",
            "formatter": "line",
            "stream": "ext://sys.stdout",
        },
    },
    "root": {"level": _SETTINGS.log_level, "handlers": ["stdout"]},
    "loggers": {
        "gunicorn.error": {"level": _SETTINGS.log_level, "handlers": [], "propagate": True},
        "container.serving.error_answer": {"handlers": ["refusals"], "propagate": False},
    },
}


def post_worker_init(worker: PacedWorker) -> None:
    # Only the application knows how heavy a model is; it is asked before a request is read.
    served = worker.wsgi.extensions[SERVED]
    worker.num_samples, worker.row_width = served.num_samples, served.row_width


def when_ready(server: Arbiter) -> None:
    # What the master has loaded lives for ever: let no worker look through it and copy its pages.
    gc.freeze()
