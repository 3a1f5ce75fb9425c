"""Numba's compiler, told what processor to compile for: `njit` is imported from here alone."""

from numba import njit, prange

from fm_algo.runtime.image_cache import choose_level

__all__ = ["njit", "prange"]

choose_level()
