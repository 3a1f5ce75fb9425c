"""The hash of a text, by which dictionaries are searched and hashed columns numbered.

XXH64 with seed 0, which is part of the format of models: it never changes.
`fm_algo.data.tables.arrow.texts` computes the same in compiled code.
"""

import xxhash


def hash_text(text: bytes) -> int:
    """Return the XXH64 of a text, below 2^64."""
    return xxhash.xxh64_intdigest(text)
