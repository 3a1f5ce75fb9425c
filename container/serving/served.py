"""What a server serves: one model, or those of a multi-model endpoint."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol
from urllib.parse import unquote_to_bytes

from werkzeug.exceptions import InternalServerError

from container.serving.model_registry import ModelRegistry
from container.serving.reply import Reply, plain
from fm_algo.data.tables.named_model import NamedModel
from fm_algo.model import FMModel

Borrowed = tuple[str, AbstractContextManager[FMModel]]
"""A model's name, "" where there is but one, and how to have it for one invocation."""

_INVOKE = re.compile(r"/models/([^/].*)/invoke")

_HEALTHY = plain(200, "")


class Served(Protocol):
    """Finds the model of an invocation and answers /ping, for `Front`.

    Attributes
    ----------
    rule : str
        The paths of invocations, in Flask's notation.
    """

    rule: str

    def ping(self) -> Reply:
        """Answer the platform's question whether the server can serve."""
        ...

    def find(self, path: str) -> Borrowed | None:
        """Return the model that is invoked at a path of WSGI; None if that is no such path."""
        ...

    def num_samples(self, path: bytes) -> int:
        """Return how many samples the model has that is invoked at a path of HTTP; 0 without."""
        ...

    def row_width(self, path: bytes) -> int:
        """Return how many features a row by name has at that model; 0 if it knows no names."""
        ...


class OneModel:
    """The model of an ordinary endpoint.

    Parameters
    ----------
    model : FMModel or None
    reason : str
        Why there is none, where there is none: the answer to each invocation.
    """

    rule = "/invocations"

    def __init__(self, model: FMModel | None, reason: str = "") -> None:
        self._model = model
        self._reason = reason

    def ping(self) -> Reply:
        """Answer 200 if there is a model, else 503."""
        return plain(503, self._reason) if self._model is None else _HEALTHY

    def find(self, path: str) -> Borrowed | None:
        """Return the model at /invocations."""
        return ("", self._borrow()) if path == self.rule else None

    def num_samples(self, _path: bytes) -> int:
        """Return how many samples the model has."""
        return _num_samples(self._model)

    def row_width(self, _path: bytes) -> int:
        """Return how many features a row by name has."""
        return _row_width(self._model)

    @contextmanager
    def _borrow(self) -> Iterator[FMModel]:
        if self._model is None:
            raise InternalServerError(self._reason)
        yield self._model


class ModelsByName:
    """The models of a multi-model endpoint.

    Parameters
    ----------
    models : ModelRegistry
    """

    rule = "/models/<path:name>/invoke"

    def __init__(self, models: ModelRegistry) -> None:
        self._models = models

    def ping(self) -> Reply:
        """Answer 200: the server starts without a model."""
        return _HEALTHY

    def find(self, path: str) -> Borrowed | None:
        """Return the model that a path names; whether it is loaded, who borrows it will see."""
        name = _name(path)
        return (name, self._models.borrow(name)) if name else None

    def num_samples(self, path: bytes) -> int:
        """Return how many samples the model has that a path names."""
        return _num_samples(self._peek(path))

    def row_width(self, path: bytes) -> int:
        """Return how many features a row by name has at the model that a path names."""
        return _row_width(self._peek(path))

    def _peek(self, path: bytes) -> FMModel | None:
        name = _name(unquote_to_bytes(path).decode("latin-1"))
        return self._models.peek(name) if name else None


def _num_samples(model: FMModel | None) -> int:
    return len(model.samples) if model else 0


def _row_width(model: FMModel | None) -> int:
    return model.names.rows.width if isinstance(model, NamedModel) else 0


def _name(path: str) -> str | None:
    """Return the name of the model that is invoked at a path of WSGI, which has it as Latin-1."""
    named = _INVOKE.fullmatch(path)
    return named[1].encode("latin-1").decode(errors="replace") if named else None
