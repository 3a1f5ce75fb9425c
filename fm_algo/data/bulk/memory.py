"""Pointers to the memory of arrays, for compiled functions: without length, unchecked.

To pass an array to a function, Numba counts references on the way in and out. That takes longer
than most of these functions. A pointer is just a number. Its receiver documents its valid range.
"""

from typing import Any

import numba.extending
import numpy as np
from numba.core import types

intrinsic: Any = numba.extending.intrinsic  # its type would hide that the first argument is Numba's


int64: Any = np.int64
"""Makes a compiled integer from any number; type checkers see an int."""


@intrinsic
def pointer(_typing: Any, array: Any) -> Any:  # noqa: ANN401 - Numba's types have none
    """Return a pointer to a C-ordered array; `pointer(a)[i]` is a[i] for any i from 0 on."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:  # noqa: ANN401
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), generate


@intrinsic
def int32_pointer(_typing: Any, address: Any) -> Any:  # noqa: ANN401
    """Return a pointer to int32 numbers at an address."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:  # noqa: ANN401
        return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

    return types.CPointer(types.int32)(address), generate


@intrinsic
def load(_typing: Any, data: Any, position: Any, kind: Any) -> Any:  # noqa: ANN401
    """Read a number of type `kind` that starts at data[position], aligned or not."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:  # noqa: ANN401
        llvm_type = context.get_value_type(sig.return_type)
        address = builder.gep(args[0], [args[1]])
        return builder.load(builder.bitcast(address, llvm_type.as_pointer()), align=1)

    return kind.instance_type(data, types.intp, kind), generate


@intrinsic
def bits_as_float32(_typing: Any, bits: Any) -> Any:  # noqa: ANN401
    """Return the float32 with these 32 bits."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:  # noqa: ANN401
        return builder.bitcast(args[0], context.get_value_type(sig.return_type))

    return types.float32(types.uint32), generate
