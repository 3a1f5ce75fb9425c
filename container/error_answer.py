"""How an error is answered: its status and one line of plain text, which the caller gets to see."""

import logging

import flask
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from fm_algo.errors import UserError

_MAX_REASON = 2048
"""In characters. The platform passes on no more."""

_PASSED_ON = {"Allow", "Retry-After"}

_log = logging.getLogger(__name__)


def answer_error(error: Exception) -> flask.Response:
    """Answer an error and log it.

    Parameters
    ----------
    error : Exception
        A UserError has its own status and text, an HTTPException likewise. Anything else is ours:
        500 and a fixed text; the log has the traceback.

    Returns
    -------
    flask.Response
        One line, text/plain.
    """
    asked = f"{flask.request.method} {flask.request.path}"
    if isinstance(error, UserError):
        response = _answer(error.http_status, error.message)
    elif isinstance(error, HTTPException):
        response = _answer(error.code or 500, _reason(error, asked))
        response.headers.extend(
            (name, value) for name, value in error.get_headers() if name in _PASSED_ON
        )
    else:
        _log.error("%r failed", asked, exc_info=error)
        return _answer(500, "internal error; the log of the server has the details")
    _log.warning("%r answered %d: %s", asked, response.status_code, response.get_data(as_text=True))
    return response


def _reason(error: HTTPException, asked: str) -> str:
    if isinstance(error, NotFound):
        rules = sorted({rule.rule for rule in flask.current_app.url_map.iter_rules()})
        return f"{asked!r}: there is no such path, allowed: {', '.join(rules)}"
    if isinstance(error, MethodNotAllowed):
        methods = ", ".join(sorted(error.valid_methods or ()))
        return f"{asked!r}: the method is not allowed, allowed: {methods}"
    return error.description or error.name


def _answer(status: int, reason: str) -> flask.Response:
    line = " ".join(reason.split())
    return flask.Response(line[:_MAX_REASON], status, mimetype="text/plain")
