"""Find the host that keeps a feature's row, and its place there, by a hash without a table."""

from dataclasses import dataclass

import numpy as np

from fm_algo.runtime.jit import njit
from fm_algo.sparse import Int32Array

# Odd, so that multiplying by them modulo a power of two can be undone. Their bits are those of the
# golden ratio and of square roots, which no numbering of features follows.
_FACTORS = (0x9E3779B1, 0x6A09E667, 0xB504F333)


@dataclass(frozen=True, slots=True)
class Ownership:
    """The owner of each feature.

    A bijection of [0, feature_dim) that looks random puts the features in another order. The
    feature at place p of it is row p // num_hosts of host p % num_hosts. So the hosts have the same
    number of rows, give or take one. And the hash spreads features whose numbers are close together
    or at regular distances.

    Attributes
    ----------
    feature_dim, num_hosts : int
    """

    feature_dim: int
    num_hosts: int

    def num_rows(self, host: int) -> int:
        """Return the number of rows that a host owns."""
        return (self.feature_dim - host + self.num_hosts - 1) // self.num_hosts

    def find(self, features: Int32Array) -> tuple[Int32Array, Int32Array]:
        """Find the owners of features.

        Parameters
        ----------
        features : int32, shape (n,)

        Returns
        -------
        owners, rows : int32, shape (n,)
            Number of each feature's owner, and the feature's row there.
        """
        owners, rows = np.empty(len(features), np.int32), np.empty(len(features), np.int32)
        _find(features, self.feature_dim, self.num_hosts, owners, rows)
        return owners, rows


@njit(nogil=True, cache=True)
def _find(
    features: Int32Array, feature_dim: int, num_hosts: int, owners: Int32Array, rows: Int32Array
) -> None:
    """Mix the bits of each feature's number until the result is a feature's number again.

    Each operation can be undone on numbers of `bits` bits, so no two features get the same place. A
    result outside [0, feature_dim) is mixed again, fewer than two rounds on average ("cycle
    walking", Black and Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002).
    """
    bits = 1
    while (np.int64(1) << bits) < feature_dim:
        bits += 1
    mask = (np.int64(1) << bits) - 1
    half = (bits + 1) // 2
    for n in range(len(features)):
        place = np.int64(features[n])
        while True:
            for factor in _FACTORS:
                place = (place * factor) & mask
                place ^= place >> half
            if place < feature_dim:
                break
        owners[n] = place % num_hosts
        rows[n] = place // num_hosts
