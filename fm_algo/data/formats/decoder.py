"""`RowDecoder`: the interface of every row decoder."""

from typing import Protocol

from fm_algo.sparse import CSRBatch


class RowDecoder(Protocol):
    """Turns the bytes of one source, fed in pieces of any size, into rows.

    Rows come out in the order of the source. They do not depend on how it was cut into pieces.
    """

    def feed(self, data: bytes) -> CSRBatch:
        """Take the next bytes; return the rows they complete, perhaps none.

        Raises
        ------
        UserError
            At the first row that cannot be read; names its record number (0-based) or line number
            (1-based), the cause and what is allowed.
        """
        ...

    def close(self) -> CSRBatch:
        """End the source; return the last rows, perhaps none.

        Raises
        ------
        UserError
            If the source ends within a row.
        """
        ...
