"""Compiled loops over sets: cut texts into members, and turn their features into entries."""

import numpy as np

from fm_algo.data.tables.arrow.texts import Texts, is_same, trim
from fm_algo.data.tables.dictionary import UInt8Array
from fm_algo.runtime.jit import njit
from fm_algo.sparse.matrix import Float32Array, Int32Array, Int64Array


def split(texts: Texts, separator: bytes) -> tuple[Int64Array, Texts]:
    """Cut texts at a separator.

    Returns
    -------
    indptr : int64, shape (n + 1,)
        The members of text i stand at ``indptr[i]:indptr[i + 1]``.
    members : Texts
        Without blanks around them; what is empty then does not count.
    """
    indptr = np.zeros(len(texts.starts) + 1, np.int64)
    separators = np.frombuffer(separator, np.uint8)
    nothing = np.empty(0, np.int64)
    _split(texts, separators, indptr, nothing, nothing)
    np.cumsum(indptr, out=indptr)
    starts, stops = np.empty(indptr[-1], np.int64), np.empty(indptr[-1], np.int64)
    _split(texts, separators, indptr.copy(), starts, stops)
    trim(texts.data, starts, stops)
    return indptr, Texts(texts.data, starts, stops)


@njit(nogil=True, cache=True)
def _split(
    texts: Texts,
    separator: UInt8Array,
    indptr: Int64Array,
    starts: Int64Array,
    stops: Int64Array,
) -> None:
    """Write the members; without room for them, only count them into ``indptr[1:]``."""
    writes = len(starts) > 0
    width = len(separator)
    for row in range(len(texts.starts)):
        begin, end = texts.starts[row], texts.stops[row]
        place, member = begin, begin
        at = indptr[row]
        number = 0
        while place <= end:
            is_end = place == end
            if is_end or (
                place + width <= end
                and is_same(texts.data, place, place + width, separator, 0, width)
            ):
                if place > member:
                    if writes:
                        starts[at + number] = member
                        stops[at + number] = place
                    number += 1
                place += 1 if is_end else width
                member = place
            else:
                place += 1
        if not writes:
            indptr[row + 1] = number


def collect_sets(
    indptr: Int64Array, features: Int32Array, *, is_root: bool
) -> tuple[Int64Array, Int32Array, Float32Array]:
    """Turn the features of members into entries: ascending, each once, all of one value.

    Parameters
    ----------
    indptr : int64, shape (n + 1,)
    features : int32, shape (indptr[n],)
        Below 0 for a member that does not count.
    is_root : bool
        Whether each of m features has the value 1/√m, else 1.

    Returns
    -------
    indptr, features, values
        Of the entries of each row.
    """
    out_indptr = np.zeros(len(indptr), np.int64)
    out = np.empty(len(features), np.int32)
    values = np.empty(len(features), np.float32)
    num_entries = _collect(indptr, features, is_root, out_indptr, out, values)
    return out_indptr, out[:num_entries], values[:num_entries]


@njit(nogil=True, cache=True)
def _collect(
    indptr: Int64Array,
    features: Int32Array,
    is_root: bool,
    out_indptr: Int64Array,
    out: Int32Array,
    values: Float32Array,
) -> int:
    end = 0
    for row in range(len(indptr) - 1):
        begin = end
        for place in range(indptr[row], indptr[row + 1]):
            feature = features[place]
            if feature < 0:
                continue
            at = end  # insertion sort: sets are small
            while at > begin and out[at - 1] > feature:
                at -= 1
            if at > begin and out[at - 1] == feature:
                continue
            for moved in range(end, at, -1):
                out[moved] = out[moved - 1]
            out[at] = feature
            end += 1
        value = np.float32(1.0)
        if is_root and end > begin:
            value = np.float32(1.0 / np.sqrt(np.float64(end - begin)))
        values[begin:end] = value
        out_indptr[row + 1] = end
    return end
