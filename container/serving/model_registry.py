"""The models of a multi-model endpoint: loaded and unloaded while requests are answered."""

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fm_algo.artifacts.model_source import load_any_stored_model
from fm_algo.data.tables.named_model import NamedModel
from fm_algo.errors import UserError
from fm_algo.model import FMModel

_OUT_OF_RESOURCES = {errno.ENOMEM, errno.EMFILE, errno.ENFILE}


@dataclass(slots=True)
class _Entry:
    url: str
    model: FMModel
    num_borrowers: int = 0


class ModelRegistry:
    """Models by name. Every method may be called from any thread.

    Parameters
    ----------
    root : Path
        Where the platform unpacks models; none is loaded from elsewhere.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._entries: dict[str, _Entry] = {}
        self._being_loaded: set[str] = set()
        self._lock = threading.Lock()
        self._returned = threading.Condition(self._lock)

    def load(self, name: str, url: str) -> None:
        """Load a model.

        Parameters
        ----------
        name : str
            Any.
        url : str
            Directory of the unpacked model.

        Raises
        ------
        UserError
            400 if the url is not below the root, or the name is empty; 409 if a model of that name
            is loaded or being loaded; 507 if there is no room for it: the platform then unloads
            another one and tries again; 500 if it cannot be read.
        """
        if not name:
            raise UserError("model_name is empty, expected a name")
        directory = self._resolve(url)
        with self._lock:
            if name in self._entries or name in self._being_loaded:
                raise UserError(f"model {name!r} is loaded already", http_status=409)
            self._being_loaded.add(name)
        try:
            model = _load(name, directory)
            with self._lock:
                self._entries[name] = _Entry(url, model)
        finally:
            with self._lock:
                self._being_loaded.discard(name)

    def unload(self, name: str) -> None:
        """Forget a model, once nobody uses it any more: then its memory is free.

        Raises
        ------
        UserError
            404 if there is none of that name.
        """
        with self._lock:
            entry = self._find(name)
            del self._entries[name]
            self._returned.wait_for(lambda: entry.num_borrowers == 0)

    @contextmanager
    def borrow(self, name: str) -> Iterator[FMModel]:
        """Hand out a model, which stays in memory until it is given back.

        Raises
        ------
        UserError
            404 if there is none of that name.
        """
        with self._lock:
            entry = self._find(name)
            entry.num_borrowers += 1
        try:
            yield entry.model
        finally:
            with self._lock:
                entry.num_borrowers -= 1
                self._returned.notify_all()

    def peek(self, name: str) -> FMModel | None:
        """Return a model to look at for a moment; None if there is no model of that name."""
        with self._lock:
            entry = self._entries.get(name)
            return entry.model if entry else None

    def url(self, name: str) -> str:
        """Return where a model was loaded from.

        Raises
        ------
        UserError
            404 if there is none of that name.
        """
        with self._lock:
            return self._find(name).url

    def page(self, limit: int, after: str) -> tuple[list[tuple[str, str]], str]:
        """List models by name.

        Parameters
        ----------
        limit : int
            How many at most.
        after : str
            Where to go on: what the page before gave back, or "".

        Returns
        -------
        list of (str, str)
            Name and url of each.
        str
            Where the next page goes on; "" if this is the last.

        Raises
        ------
        UserError
            If `limit` is not positive.
        """
        if limit < 1:
            raise UserError(f"limit is {limit}, allowed: 1 or more")
        with self._lock:
            urls = {name: self._entries[name].url for name in sorted(self._entries) if name > after}
        names = list(urls)[:limit]
        return [(name, urls[name]) for name in names], names[-1] if len(names) < len(urls) else ""

    def _resolve(self, url: str) -> Path:
        """Return the directory a url names, links followed."""
        try:
            directory = Path(url).resolve()
        except (ValueError, OSError, RuntimeError) as error:  # a NUL, a link to itself
            raise UserError(f"url {url!r} names no directory: {error}") from error
        if not directory.is_relative_to(self._root):
            raise UserError(f"url {url!r} is not allowed, expected a directory below {self._root}")
        return directory

    def _find(self, name: str) -> _Entry:
        if name not in self._entries:
            raise UserError(f"model {name!r} is not loaded", http_status=404)
        return self._entries[name]


def load_served_model(directory: Path) -> FMModel:
    """Load a model to serve: a `NamedModel` if it was trained on tables.

    Raises
    ------
    UserError
        As from `load_any_stored_model`.
    """
    stored = load_any_stored_model(directory)
    return NamedModel.of(stored.model, stored.tables) if stored.tables else stored.model


def _load(name: str, directory: Path) -> FMModel:
    try:
        return load_served_model(directory)
    except MemoryError as error:
        raise UserError(f"no memory for model {name!r}", http_status=507) from error
    except UserError as error:
        cause = error.__cause__
        full = isinstance(cause, OSError) and cause.errno in _OUT_OF_RESOURCES
        raise UserError(
            f"Unable to load model: {error.message}", http_status=507 if full else 500
        ) from error
