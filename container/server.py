"""Start the server: this process becomes gunicorn's master and gets the platform's SIGTERM."""

import sys

from gunicorn.app.wsgiapp import run


def main() -> None:
    """Serve until SIGTERM; how, says gunicorn_conf.py."""
    sys.argv[1:] = ["--config", "python:container.gunicorn_conf"]
    run()
