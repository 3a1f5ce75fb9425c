"""Numba's `njit`, set to compile for the right processor: import it only from here."""

from numba import njit, prange

from fm_algo.runtime.image_cache import choose_level

__all__ = ["njit", "prange"]

choose_level()
