"""`RecordNotes`: the id and metadata that a request's record carries beside its features."""

from typing import NamedTuple


class RecordNotes(NamedTuple):
    """What an answer repeats from its request's record.

    Attributes
    ----------
    uid, metadata : str or None
        As in record.proto.
    """

    uid: str | None = None
    metadata: str | None = None


NO_NOTES = RecordNotes()
