"""Vectors of eight float32 for Numba code, and prefetching.

LLVM does not turn loops over a row's few factors into vector code by itself: it cannot know that
the arrays do not overlap, and its unrolled loops are longer than the rows. So the kernels use
vectors explicitly. In an expression such as `x * load(V, i, j) + load(S, r, j)`, a float32 stands
for a vector of equal numbers. Operators, `square_root` and `clip` work on single numbers and on
vectors. LLVM maps a vector to one AVX register or to two SSE registers.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numba.extending
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model
from numpy.typing import NDArray

CACHE_LINE = 16
"""Number of float32 per cache line."""

WIDTH = 8
"""Number of float32 per vector."""

intrinsic: Any = numba.extending.intrinsic  # its type would hide that the first argument is Numba's

_FLOATS = ir.VectorType(ir.FloatType(), WIDTH)
_INT32 = ir.IntType(32)
_BYTES = ir.IntType(8).as_pointer()


class _Float32Vector(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"float32x{WIDTH}")


_vector = _Float32Vector()


@register_model(_Float32Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, type_: Any) -> None:  # noqa: ANN401 - Numba's types have none
        super().__init__(manager, type_, _FLOATS)


def _splat(builder: Any, number: Any) -> Any:  # noqa: ANN401
    undefined = ir.Constant(_FLOATS, ir.Undefined)
    first = builder.insert_element(undefined, number, _INT32(0))
    everywhere = ir.Constant(ir.VectorType(_INT32, WIDTH), [0] * WIDTH)
    return builder.shuffle_vector(first, undefined, everywhere)


def _define_operator(python_operator: Callable[..., Any], instruction: str) -> None:
    """Define one arithmetic operator for vectors, rounded as written.

    If LLVM may fuse or reorder, it decides anew wherever it inlines a function. Then a kernel
    gives other bits when it is compiled than when it comes from the cache.
    """
    operands = [(_vector, _vector), (_vector, types.float32), (types.float32, _vector)]

    @infer_global(python_operator)
    class _Typing(AbstractTemplate):
        key = python_operator

        def generic(self, args: Sequence[Any], kws: Any) -> Any:  # noqa: ANN401
            return signature(_vector, *args) if tuple(args) in operands else None

    def lower(_context: Any, builder: Any, sig: Any, args: Sequence[Any]) -> Any:  # noqa: ANN401
        vectors = [
            arg if kind is _vector else _splat(builder, arg)
            for kind, arg in zip(sig.args, args, strict=True)
        ]
        return getattr(builder, instruction)(*vectors)

    for left, right in operands:
        lower_builtin(python_operator, left, right)(lower)


_define_operator(operator.add, "fadd")
_define_operator(operator.sub, "fsub")
_define_operator(operator.mul, "fmul")
_define_operator(operator.truediv, "fdiv")


def _address(context: Any, builder: Any, array_type: Any, args: Sequence[Any]) -> Any:  # noqa: ANN401
    """Return the byte address of element [i, j] of a C-ordered 2-D float32 array."""
    array, i, j = args
    array = context.make_array(array_type)(context, builder, array)
    row_bytes = cgutils.unpack_tuple(builder, array.strides)[0]
    offset = builder.add(builder.mul(i, row_bytes), builder.shl(j, ir.Constant(j.type, 2)))
    return builder.gep(builder.bitcast(array.data, _BYTES), [offset])


@intrinsic
def load(_typing: Any, array: Any, i: Any, j: Any) -> Any:  # noqa: ANN401
    """Return array[i, j : j + WIDTH] as a vector."""

    def generate(context: Any, builder: Any, sig: Any, args: Sequence[Any]) -> Any:  # noqa: ANN401
        address = _address(context, builder, sig.args[0], args)
        return builder.load(builder.bitcast(address, _FLOATS.as_pointer()), align=4)

    return _vector(array, types.intp, types.intp), generate


@intrinsic
def store(_typing: Any, array: Any, i: Any, j: Any, vector: Any) -> Any:  # noqa: ANN401
    """Set array[i, j : j + WIDTH] to a vector."""

    def generate(context: Any, builder: Any, sig: Any, args: Sequence[Any]) -> Any:  # noqa: ANN401
        address = _address(context, builder, sig.args[0], args[:3])
        builder.store(args[3], builder.bitcast(address, _FLOATS.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, _vector), generate


@intrinsic
def prefetch(_typing: Any, array: Any, i: Any, j: Any) -> Any:  # noqa: ANN401
    """Prefetch the cache line of array[i, j], 4 bytes per number, for a read or write soon."""

    def generate(context: Any, builder: Any, sig: Any, args: Sequence[Any]) -> Any:  # noqa: ANN401
        kind = ir.FunctionType(ir.VoidType(), [_BYTES, _INT32, _INT32, _INT32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        for_reading, keep_in_all_levels, data_cache = (_INT32(0), _INT32(3), _INT32(1))
        address = _address(context, builder, sig.args[0], args)
        builder.call(function, [address, for_reading, keep_in_all_levels, data_cache])
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp), generate


@intrinsic
def splat(_typing: Any, number: Any) -> Any:  # noqa: ANN401
    """Return a vector of WIDTH equal float32."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Sequence[Any]) -> Any:  # noqa: ANN401
        return _splat(builder, args[0])

    return _vector(types.float32), generate


@intrinsic
def square_root(_typing: Any, x: Any) -> Any:  # noqa: ANN401
    """Return the square root of a float32, or of each number of a vector."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Sequence[Any]) -> Any:  # noqa: ANN401
        kind = args[0].type
        name = f"llvm.sqrt.v{WIDTH}f32" if kind == _FLOATS else "llvm.sqrt.f32"
        declared = ir.FunctionType(kind, [kind])
        return builder.call(cgutils.get_or_insert_function(builder.module, declared, name), args)

    return x(x), generate


@intrinsic
def clip(_typing: Any, x: Any, limit: Any) -> Any:  # noqa: ANN401
    """Clip a float32, or each number of a vector, to [-limit, limit]; nan stays nan."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Sequence[Any]) -> Any:  # noqa: ANN401
        value, upper = args
        if value.type == _FLOATS:
            upper = _splat(builder, upper)
        lower = builder.fneg(upper)
        value = builder.select(builder.fcmp_ordered(">", value, upper), upper, value)
        return builder.select(builder.fcmp_ordered("<", value, lower), lower, value)

    return x(x, types.float32), generate


@intrinsic
def total(_typing: Any, vector: Any) -> Any:  # noqa: ANN401
    """Return the sum of the WIDTH numbers as float32."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Sequence[Any]) -> Any:  # noqa: ANN401
        (sums,) = args
        for count in (WIDTH // 2, WIDTH // 4, WIDTH // 8):  # add the upper half to the lower half
            places = ir.Constant(
                ir.VectorType(_INT32, WIDTH), [(n + count) % WIDTH for n in range(WIDTH)]
            )
            upper = builder.shuffle_vector(sums, sums, places)
            sums = builder.fadd(sums, upper)
        return builder.extract_element(sums, _INT32(0))

    return types.float32(_vector), generate


def aligned_rows(
    allocate: Callable[[int, type[np.float32]], NDArray[np.float32]], num_rows: int, stride: int
) -> NDArray[np.float32]:
    """Rows the first of which starts a cache line, from np.empty or np.zeros."""
    memory = allocate(num_rows * stride + CACHE_LINE, np.float32)
    first = -(memory.ctypes.data // 4) % CACHE_LINE
    return memory[first : first + num_rows * stride].reshape(num_rows, stride)
