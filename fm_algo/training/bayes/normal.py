"""Standard normal numbers by counter, thirty-two at once: eight blocks of Philox, a lane each.

Box and Muller make two normal numbers of two words w and a: √(−2 ln u), u = (w + ½) / 2^32, times
the cosine and the sine of the angle a / 2^32 of a turn. ln and the two are polynomials, as in
S. Moshier's Cephes library (logf, sinf, cosf), so that no machine's mathematics library matters.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from fm_algo.runtime.jit import njit
from fm_algo.runtime.philox import Stream
from fm_algo.runtime.simd import WIDTH, _address, intrinsic
from fm_algo.sparse import Float32Array

BATCH = 4 * WIDTH
"""Numbers made at once."""

_FLOATS = ir.VectorType(ir.FloatType(), WIDTH)
_INTS = ir.VectorType(ir.IntType(32), WIDTH)
_LONGS = ir.VectorType(ir.IntType(64), WIDTH)

_LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
_SINE = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_COSINE = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
_ROUND_TO_ANGLE = 3.14159265358979 * 2.0**-31


class _Vectors:
    """Writes code for vectors of eight: short names for what the formulas need."""

    def __init__(self, builder: Any) -> None:  # noqa: ANN401
        self.builder = builder

    def number(self, value: float) -> Any:  # noqa: ANN401
        return ir.Constant(_FLOATS, [value] * WIDTH)

    def integer(self, value: int) -> Any:  # noqa: ANN401
        return ir.Constant(_INTS, [value] * WIDTH)

    def long(self, value: int) -> Any:  # noqa: ANN401
        return ir.Constant(_LONGS, [value] * WIDTH)

    def splat(self, number: Any) -> Any:  # noqa: ANN401
        first = self.builder.insert_element(
            ir.Constant(_LONGS, ir.Undefined), number, ir.Constant(ir.IntType(32), 0)
        )
        return self.builder.shuffle_vector(
            first, ir.Constant(_LONGS, ir.Undefined), ir.Constant(_INTS, [0] * WIDTH)
        )

    def polynomial(self, x: Any, coefficients: tuple[float, ...]) -> Any:  # noqa: ANN401
        """Horner's rule, the highest power first."""
        value = self.number(coefficients[0])
        for coefficient in coefficients[1:]:
            value = self.builder.fadd(self.builder.fmul(value, x), self.number(coefficient))
        return value

    def philox(self, block: Any, stream: Any) -> list[Any]:  # noqa: ANN401
        """Four words of each of eight blocks; `fm_algo.training.bayes.random.philox`."""
        b, low, shift = self.builder, self.long(0xFFFFFFFF), self.long(32)
        seed, sweep, purpose, item = (self.splat(number) for number in stream)
        c0 = b.add(self.splat(block), ir.Constant(_LONGS, list(range(WIDTH))))
        c1, c2, c3 = b.and_(item, low), b.and_(sweep, low), purpose
        key0, key1 = b.and_(seed, low), b.lshr(seed, shift)
        for _ in range(10):
            product0 = b.mul(self.long(0xD2511F53), c0)
            product1 = b.mul(self.long(0xCD9E8D57), c2)
            c0 = b.xor(b.xor(b.lshr(product1, shift), c1), key0)
            c2 = b.xor(b.xor(b.lshr(product0, shift), c3), key1)
            c1, c3 = b.and_(product1, low), b.and_(product0, low)
            key0 = b.and_(b.add(key0, self.long(0x9E3779B9)), low)
            key1 = b.and_(b.add(key1, self.long(0xBB67AE85)), low)
        return [b.trunc(word, _INTS) for word in (c0, c1, c2, c3)]

    def radius(self, word: Any) -> Any:  # noqa: ANN401
        """√(−2 ln u)."""
        b = self.builder
        # u is in (0, 1]. Its mantissa is brought to [√½, √2) and the exponent counted along.
        u = b.fadd(b.uitofp(word, _FLOATS), self.number(0.5))
        bits = b.sub(b.bitcast(u, _INTS), self.integer(0x3F3504F3))
        exponent = b.sitofp(b.sub(b.ashr(bits, self.integer(23)), self.integer(32)), _FLOATS)
        mantissa = b.bitcast(
            b.add(b.and_(bits, self.integer(0x007FFFFF)), self.integer(0x3F3504F3)), _FLOATS
        )
        x = b.fsub(mantissa, self.number(1.0))
        square = b.fmul(x, x)
        log = b.fmul(b.fmul(self.polynomial(x, _LOG), square), x)
        log = b.fadd(log, b.fmul(exponent, self.number(_LN2_LOW)))
        log = b.fsub(log, b.fmul(self.number(0.5), square))
        log = b.fadd(b.fadd(log, x), b.fmul(exponent, self.number(_LN2_HIGH)))
        twice = b.fmul(self.number(-2.0), log)
        positive = b.select(b.fcmp_ordered(">", twice, self.number(0.0)), twice, self.number(0.0))
        declared = ir.FunctionType(_FLOATS, [_FLOATS])
        name = f"llvm.sqrt.v{WIDTH}f32"
        return b.call(cgutils.get_or_insert_function(b.module, declared, name), [positive])

    def cosine_and_sine(self, word: Any) -> tuple[Any, Any]:  # noqa: ANN401
        """Those of an angle, the whole circle being 2^32."""
        b = self.builder
        quarter = b.lshr(b.add(word, self.integer(1 << 29)), self.integer(30))
        rest = b.sub(word, b.shl(quarter, self.integer(30)))
        angle = b.fmul(b.sitofp(rest, _FLOATS), self.number(_ROUND_TO_ANGLE))  # within ±π/4
        square = b.fmul(angle, angle)
        sine = b.fadd(b.fmul(b.fmul(self.polynomial(square, _SINE), square), angle), angle)
        cosine = b.fmul(b.fmul(self.polynomial(square, _COSINE), square), square)
        cosine = b.fadd(b.fsub(cosine, b.fmul(self.number(0.5), square)), self.number(1.0))
        is_odd = b.icmp_signed("!=", b.and_(quarter, self.integer(1)), self.integer(0))
        first, second = b.select(is_odd, sine, cosine), b.select(is_odd, cosine, sine)
        # The cosine is below 0 in quarters 1 and 2, the sine in 2 and 3.
        turned = b.add(quarter, self.integer(1))
        signs = [
            b.shl(b.and_(number, self.integer(2)), self.integer(30)) for number in (turned, quarter)
        ]
        first, second = (
            b.bitcast(b.xor(b.bitcast(value, _INTS), sign), _FLOATS)
            for value, sign in zip((first, second), signs, strict=True)
        )
        return first, second


@intrinsic
def _store_normals(_typing: Any, out: Any, at: Any, block: Any, whose: Any) -> Any:  # noqa: ANN401
    """Set out[0, at : at + BATCH] to the numbers of eight blocks from `block` on."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:  # noqa: ANN401
        array, place, first_block, stream = args
        vectors = _Vectors(builder)
        numbers = cgutils.unpack_tuple(builder, stream)
        words = vectors.philox(first_block, numbers)
        zero = ir.Constant(place.type, 0)
        for pair in range(2):
            radius = vectors.radius(words[2 * pair])
            for part, value in enumerate(vectors.cosine_and_sine(words[2 * pair + 1])):
                offset = builder.add(place, ir.Constant(place.type, (2 * pair + part) * WIDTH))
                address = _address(context, builder, sig.args[0], [array, zero, offset])
                builder.store(
                    builder.fmul(radius, value),
                    builder.bitcast(address, _FLOATS.as_pointer()),
                    align=4,
                )
        return context.get_dummy_value()

    return types.void(out, types.intp, types.uint64, whose), generate


@njit(nogil=True, error_model="numpy", cache=True)
def fill_normal(out: Float32Array, count: int, whose: Stream) -> None:
    """Set out[0, :count] to the first standard normal numbers of a stream.

    `out` is (1, count rounded up to whole batches). Number n of a batch is of block n % WIDTH.
    """
    for at in range(0, count, BATCH):
        _store_normals(out, at, at // 4, whose)
