"""gunicorn's log, without a line a request."""

from gunicorn.glogging import Logger


class ServerLog(Logger):  # type: ignore[misc] # gunicorn carries no types
    """A logger for `gunicorn_conf.logger_class`."""

    def access(self, *_: object) -> None:
        """Do nothing: gunicorn would put a line together, and then find no one to take it."""
