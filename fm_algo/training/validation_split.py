"""Split rows at random into training and validation rows."""

import numpy as np

from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch
from fm_algo.training.gradient.gather import gather_rows


def split_rows(rows: CSRBatch, fraction: float, seed: int) -> tuple[CSRBatch, CSRBatch]:
    """Draw a part of the rows of a weight above 0; both parts keep the original order.

    Parameters
    ----------
    rows : CSRBatch
        n rows, with labels.
    fraction : float
        Fraction of the rows to draw: at least one row, and never all.
    seed : int

    Returns
    -------
    rest, drawn : CSRBatch

    Raises
    ------
    UserError
        If there are fewer than two rows.
    """
    rows = rows.drop_weightless()
    if rows.num_rows < 2:
        raise UserError(f"{rows.num_rows} rows cannot be split in two")
    count = min(max(round(fraction * rows.num_rows), 1), rows.num_rows - 1)
    order = np.random.default_rng([seed, *b"validation"]).permutation(rows.num_rows)
    rest, drawn = np.sort(order[count:]), np.sort(order[:count])
    return gather_rows(rows, rest, 0, len(rest)), gather_rows(rows, drawn, 0, len(drawn))
