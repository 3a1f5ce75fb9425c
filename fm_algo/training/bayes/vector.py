"""One more operation for the vectors of `fm_algo.kernels.simd`: multiply and add at once."""

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from fm_algo.kernels.simd import intrinsic



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
