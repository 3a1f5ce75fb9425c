"""Two more operations for the vectors of `fm_algo.runtime.simd`."""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from fm_algo.runtime.simd import WIDTH, _address, intrinsic


@intrinsic
def multiply_add(_typing: Any, factor: Any, vector: Any, total: Any) -> Any:  # noqa: ANN401
    """Return factor · vector + total for a float32, standing for a vector of it, and two vectors.

    It is rounded once where the processor can do so, twice elsewhere: the processor decides, not
    where LLVM happens to inline it.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:  # noqa: ANN401
        number, *vectors = args
        everywhere = _splat_of(builder, number, vectors[0].type)
        kind = vectors[0].type
        declared = ir.FunctionType(kind, [kind] * 3)
        name = f"llvm.fmuladd.v{kind.count}f32"
        function = cgutils.get_or_insert_function(builder.module, declared, name)
        return builder.call(function, [everywhere, *vectors])

    return total(factor, vector, total), generate


def _splat_of(builder: Any, number: Any, kind: Any) -> Any:  # noqa: ANN401
    """Fill a vector with one number, or leave it as it is."""
    if number.type == kind:
        return number
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
    places = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, undefined, places)


@intrinsic
def transpose_tile(
    _typing: Any,  # noqa: ANN401
    source: Any,  # noqa: ANN401
    i: Any,  # noqa: ANN401
    j: Any,  # noqa: ANN401
    target: Any,  # noqa: ANN401
    to_i: Any,  # noqa: ANN401
    to_j: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """Set target[to_i + n, to_j + m] to source[i + m, j + n], n and m below WIDTH."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:  # noqa: ANN401
        floats = ir.VectorType(ir.FloatType(), WIDTH).as_pointer()

        def address(array_at: int, n: int) -> Any:  # noqa: ANN401
            row = builder.add(args[array_at + 1], ir.Constant(args[array_at + 1].type, n))
            place = [args[array_at], row, args[array_at + 2]]
            return builder.bitcast(_address(context, builder, sig.args[array_at], place), floats)

        rows = [builder.load(address(0, n), align=4) for n in range(WIDTH)]
        for distance in (WIDTH // 2, WIDTH // 4, WIDTH // 8):  # blocks change places across it
            lanes = range(WIDTH)
            low = [n + WIDTH - distance if n & distance else n for n in lanes]
            high = [n + WIDTH if n & distance else n + distance for n in lanes]
            for n in range(WIDTH):
                if not n & distance:
                    pair = rows[n], rows[n + distance]
                    rows[n] = builder.shuffle_vector(*pair, _places(low))
                    rows[n + distance] = builder.shuffle_vector(*pair, _places(high))
        for n in range(WIDTH):
            builder.store(rows[n], address(3, n), align=4)
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, target, types.intp, types.intp), generate


def _places(lanes: list[int]) -> Any:  # noqa: ANN401
    return ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
