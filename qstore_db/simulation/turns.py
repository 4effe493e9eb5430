"""A rotation's angle in every lane at once, as LLVM code: what ``angles`` needs a hundred times a block.

θ = r + kπ with |r| ≤ π/2. Sine and cosine of r/2 are Taylor polynomials on [-π/4, π/4], to rounding in float64,
whatever the dtype of the state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from qstore_db.simulation.simd import VECTORS, Builder, Context, LaneVector, data_pointer, llvm_vector, store_row

_PI_HIGH: Final = 3.141592653589793
_PI_LOW: Final = 1.2246467991473532e-16
_SINE: Final = [(-1) ** k / math.factorial(2 * k + 1) for k in range(8)]
_COSINE: Final = [(-1) ** k / math.factorial(2 * k) for k in range(8)]


class _Wide:
    """Arithmetic on one float64 and one int64 number a lane."""

    def __init__(self, builder: Builder, lanes: int) -> None:
        self.builder = builder
        self.real = ir.VectorType(ir.DoubleType(), lanes)
        self.whole = ir.VectorType(ir.IntType(64), lanes)

    def splat(self, number: Any, kind: ir.VectorType) -> Any:
        undefined = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
        return self.builder.shuffle_vector(
            first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
        )

    def number(self, value: float) -> Any:
        return ir.Constant(self.real, [value] * self.real.count)

    def integer(self, value: int) -> Any:
        return ir.Constant(self.whole, [value] * self.whole.count)

    def call(self, name: str, kind: ir.VectorType, argument: Any) -> Any:
        letter = "f64" if kind == self.real else "i64"
        function = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(kind, [kind]), f"llvm.{name}.v{kind.count}{letter}"
        )
        return self.builder.call(function, [argument])

    def load(self, base: Any, offset: Any, kind: ir.VectorType) -> Any:
        value = self.builder.load(self.builder.bitcast(self.builder.gep(base, [offset]), kind.as_pointer()))
        value.align = 8
        return value

    def store(self, value: Any, base: Any, offset: Any) -> None:
        target = self.builder.bitcast(self.builder.gep(base, [offset]), value.type.as_pointer())
        self.builder.store(value, target, align=8)

    def polynomial(self, coefficients: Sequence[float], w: Any) -> Any:
        """Horner's rule; plain products and sums, one rounding each on every machine."""
        total = self.number(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            total = self.builder.fadd(self.builder.fmul(total, w), self.number(coefficient))
        return total

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
        wide = _Wide(builder, vector.lanes)
        at = {
            name: data_pointer(context, builder, signature.args[number], arguments[number])
            for name, number in (("theta", 0), ("x", 3), ("z", 4), ("factors", 5), ("tangents", 7), ("signs", 8))
        }
        zero = ir.Constant(ir.IntType(64), 0)
        own_x, own_z = wide.splat(arguments[1], wide.whole), wide.splat(arguments[2], wide.whole)
        moved_x, moved_z = wide.load(at["x"], zero, wide.whole), wide.load(at["z"], zero, wide.whole)
        sine, cosine, odd = wide.halves(wide.load(at["theta"], zero, wide.real))
        crossed = builder.xor(builder.and_(own_x, moved_z), builder.and_(own_z, moved_x))
        flip = builder.shl(wide.call("ctpop", wide.whole, crossed), wide.integer(63))

        def signed(value: Any) -> Any:
            return builder.bitcast(builder.xor(builder.bitcast(value, wide.whole), flip), wide.real)

        tangent = wide.narrow(signed(builder.fdiv(sine, cosine)), vector)
        row = builder.shl(arguments[9], ir.Constant(ir.IntType(64), 1))
        store_row(builder, tangent, at["tangents"], row, vector)
        store_row(builder, builder.fneg(tangent), at["tangents"], builder.add(row, ir.Constant(row.type, 1)), vector)
        store_row(builder, wide.narrow(signed(wide.number(1.0)), vector), at["signs"], arguments[9], vector)
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
        wide = _Wide(builder, vector.lanes)
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
