"""gunicorn's log, without a line per request."""

from gunicorn.glogging import Logger


class ServerLog(Logger):  # type: ignore[misc] # gunicorn carries no types
    """Logs what gunicorn logs, except requests."""

    def access(self, *_: object) -> None:
        """Do nothing: gunicorn would put a line together, and then find no one to take it."""
