"""How an error is answered: its status and one line of plain text, which the caller gets to see."""

import logging

from werkzeug.exceptions import HTTPException

from container.serving.reply import Reply, plain
from fm_algo.errors import UserError

_MAX_REASON = 2048
"""In characters. The platform passes on no more."""

_PASSED_ON = {"Allow", "Retry-After"}

_log = logging.getLogger(__name__)


def error_reply(error: Exception, asked: str) -> Reply:
    """Answer an error and log it.

    Parameters
    ----------
    error : Exception
        A UserError has its own status and text, an HTTPException likewise. Anything else is ours:
        500 and a fixed text; the log has the traceback.
    asked : str
        Method and path of the request.

    Returns
    -------
    Reply
        One line, text/plain.
    """
    headers: list[tuple[str, str]] = []
    if isinstance(error, UserError):
        status, reason = error.http_status, error.message
    elif isinstance(error, HTTPException):
        status, reason = error.code or 500, error.description or error.name
        headers = [header for header in error.get_headers() if header[0] in _PASSED_ON]
    else:
        _log.error("%r failed", asked, exc_info=error)
        return plain(500, "internal error; the log of the server has the details")
    line = " ".join(reason.split())[:_MAX_REASON]
    _log.warning("%r answered %d: %s", asked, status, line)
    return plain(status, line, headers)
