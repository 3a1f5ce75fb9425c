"""`find_moves`: where the features of an earlier model are among those of a later one."""

from typing import NamedTuple

from fm_algo.data.tables.encoder import TableEncoder


class Move(NamedTuple):
    """Consecutive features of the earlier model: ``first:stop`` there, from `to` on here."""

    first: int
    stop: int
    to: int


def find_moves(earlier: TableEncoder, later: TableEncoder) -> list[Move]:
    """Find the features that mean the same in both: the same value of the same column.

    Parameters
    ----------
    earlier : TableEncoder
    later : TableEncoder
        Was fitted with `earlier`, so that the values of each column begin with those from there.

    Returns
    -------
    list of Move
        Columns that only one of them has are in none.
    """
    moves: list[Move] = []
    for block in later.blocks:
        before = earlier.block_of.get(block.name)
        if before is None:
            continue
        if before.column.kind not in {"category", "set"}:
            moves.append(Move(before.first, before.stop, block.first))
            continue
        if before.num_values:
            moves.append(Move(before.first, before.rare, block.first))
        moves.append(Move(before.rare, before.rare + 1, block.rare))
        if before.has_missing:
            moves.append(Move(before.missing, before.missing + 1, block.missing))
    return moves
