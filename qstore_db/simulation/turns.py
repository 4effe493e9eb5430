"""A rotation's angle in every lane at once, as LLVM code: what ``angles`` needs a hundred times a block.

θ = r + kπ with |r| ≤ π/2. Sine and cosine of r/2 are Taylor polynomials on [-π/4, π/4], to rounding in float64,
whatever the dtype of the state.
"""

from __future__ import annotations

import math
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from qstore_db.simulation.simd import VECTORS, Builder, Context, LaneVector, data_pointer, llvm_vector, store_row
from qstore_db.simulation.wide import WideBuilder

_PI_HIGH: Final = 3.141592653589793
_PI_LOW: Final = 1.2246467991473532e-16
_SINE: Final = [(-1) ** k / math.factorial(2 * k + 1) for k in range(8)]
_COSINE: Final = [(-1) ** k / math.factorial(2 * k) for k in range(8)]


class _Angles(WideBuilder):
    """Arithmetic on one angle a lane."""

    def halves(self, theta: Any) -> tuple[Any, Any, Any]:
        """sin(r/2), cos(r/2), and -1 (all bits) where k is odd, else 0."""
        builder = self.builder
        turns = builder.fadd(builder.fmul(theta, self.number(1 / math.pi)), self.number(0.5))
        k = self.call("floor", self.real, turns)
        r = builder.fsub(theta, builder.fmul(k, self.number(_PI_HIGH)))
        r = builder.fsub(r, builder.fmul(k, self.number(_PI_LOW)))
        y = builder.fmul(r, self.number(0.5))
        w = builder.fmul(y, y)
        odd = builder.and_(builder.fptosi(k, self.whole), self.integer(1))
        sine = builder.fmul(y, self.polynomial(_SINE, w))
        return sine, self.polynomial(_COSINE, w), builder.sub(self.integer(0), odd)

    def narrow(self, value: Any, vector: LaneVector) -> Any:
        """In the dtype of the state."""
        return value if vector.element == types.float64 else self.builder.fptrunc(value, llvm_vector(vector))


@intrinsic  # type: ignore[untyped-decorator]
def turn(
    typing: Context, theta: Any, x: Any, z: Any, lane_x: Any, lane_z: Any, factors: Any, segment: Any, tangents: Any,
    signs: Any, place: Any,
) -> Any:  # fmt: skip
    """Rotation ``place`` with the string (x, z) in every lane.

    Rows 2·place and 2·place + 1 of ``tangents`` become ±s·tan(r/2), row ``place`` of ``signs`` becomes s, where s =
    -1 in lanes whose moved string (``lane_x``, ``lane_z``) anticommutes with (x, z). Row ``segment`` of ``factors``
    is multiplied by cos(r/2), and in lanes with odd k the string joins the moved ones.
    """
    vector = VECTORS[tangents.dtype]

    def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
        wide = _Angles(builder, vector.lanes)
        at = {
            name: data_pointer(context, builder, signature.args[number], arguments[number])
            for name, number in (("theta", 0), ("x", 3), ("z", 4), ("factors", 5), ("tangents", 7), ("signs", 8))
        }
        zero = ir.Constant(ir.IntType(64), 0)
        own_x, own_z = wide.splat(arguments[1], wide.whole), wide.splat(arguments[2], wide.whole)
        moved_x, moved_z = wide.load(at["x"], zero, wide.whole), wide.load(at["z"], zero, wide.whole)
        sine, cosine, odd = wide.halves(wide.load(at["theta"], zero, wide.real))
        flip = wide.crossings(own_x, own_z, moved_x, moved_z)
        tangent = wide.narrow(wide.flipped(builder.fdiv(sine, cosine), flip), vector)
        row = builder.shl(arguments[9], ir.Constant(ir.IntType(64), 1))
        store_row(builder, tangent, at["tangents"], row, vector)
        store_row(builder, builder.fneg(tangent), at["tangents"], builder.add(row, ir.Constant(row.type, 1)), vector)
        store_row(builder, wide.narrow(wide.flipped(wide.number(1.0), flip), vector), at["signs"], arguments[9], vector)
        offset = builder.mul(arguments[6], ir.Constant(ir.IntType(64), vector.lanes))
        wide.store(builder.fmul(wide.load(at["factors"], offset, wide.real), cosine), at["factors"], offset)
        wide.store(builder.xor(moved_x, builder.and_(odd, own_x)), at["x"], zero)
        wide.store(builder.xor(moved_z, builder.and_(odd, own_z)), at["z"], zero)
        return context.get_dummy_value()

    index = types.int64
    return types.void(theta, index, index, lane_x, lane_z, factors, index, tangents, signs, index), generate


@intrinsic  # type: ignore[untyped-decorator]
def turn_from_zero(typing: Context, theta: Any, cosines: Any, tangents: Any, signs: Any, place: Any) -> Any:
    """Growing rotation ``place``: cos(θ/2) to ``cosines``, ±sin(θ/2) to ``tangents``, up to one common sign; s = 1."""
    vector = VECTORS[tangents.dtype]

    def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
        wide = _Angles(builder, vector.lanes)
        at = [data_pointer(context, builder, signature.args[number], arguments[number]) for number in range(4)]
        sine, cosine, odd = wide.halves(wide.load(at[0], ir.Constant(ir.IntType(64), 0), wide.real))
        flipped = builder.icmp_signed("!=", odd, wide.integer(0))
        first = wide.narrow(builder.select(flipped, builder.fneg(sine), cosine), vector)
        second = wide.narrow(builder.select(flipped, cosine, sine), vector)
        row = builder.shl(arguments[4], ir.Constant(ir.IntType(64), 1))
        store_row(builder, first, at[1], arguments[4], vector)
        store_row(builder, second, at[2], row, vector)
        store_row(builder, builder.fneg(second), at[2], builder.add(row, ir.Constant(row.type, 1)), vector)
        store_row(builder, wide.narrow(wide.number(1.0), vector), at[3], arguments[4], vector)
        return context.get_dummy_value()

    return types.void(theta, cosines, tangents, signs, types.int64), generate
