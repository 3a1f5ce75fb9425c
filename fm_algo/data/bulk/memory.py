"""Memory of arrays, as compiled functions hand it to each other: without length, unchecked.

An array that is passed on to a function is counted, there and back: more work than most of these
functions do. A pointer is a number. Who takes one says how far it may be followed.
"""

from typing import Any

import numba.extending
import numpy as np
from numba.core import types

intrinsic: Any = numba.extending.intrinsic  # its type would hide that the first argument is Numba's


int64: Any = np.int64
"""Makes a compiled integer from any number; to type checkers those are ints."""


@intrinsic
def pointer(_typing: Any, array: Any) -> Any:  # noqa: ANN401 - Numba's types have none
    """First element of a C-ordered array; `pointer(a)[i]` is a[i] for any i from 0 on."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:  # noqa: ANN401
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), generate


@intrinsic
def load(_typing: Any, data: Any, position: Any, kind: Any) -> Any:  # noqa: ANN401
    """Read a number of type `kind` that begins at data[position], aligned or not."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:  # noqa: ANN401
        llvm_type = context.get_value_type(sig.return_type)
        address = builder.gep(args[0], [args[1]])
        return builder.load(builder.bitcast(address, llvm_type.as_pointer()), align=1)

    return kind.instance_type(data, types.intp, kind), generate


@intrinsic
def bits_as_float32(_typing: Any, bits: Any) -> Any:  # noqa: ANN401
    """Return the float32 of these 32 bits."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:  # noqa: ANN401
        return builder.bitcast(args[0], context.get_value_type(sig.return_type))

    return types.float32(types.uint32), generate
