"""Start the server: this process becomes gunicorn's master and gets the platform's SIGTERM."""

import sys
import tempfile

from gunicorn.app.wsgiapp import run

from container.settings import share_metrics, shared_memory


def main() -> None:
    """Serve until SIGTERM; how, says gunicorn_conf.py."""
    # Each worker keeps its own counters there, so that any of them can tell the sum.
    share_metrics(tempfile.mkdtemp(prefix="fm-metrics-", dir=shared_memory()))
    sys.argv[1:] = ["--config", "python:container.gunicorn_conf"]
    run()
