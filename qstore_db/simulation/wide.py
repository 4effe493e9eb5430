"""One float64 number a lane whatever the dtype of the state: angles, values, cotangents, sums.

Sixteen of them sit beside a register of sixteen float32 numbers, eight beside eight float64 ones. ``like`` names the
dtype of the state by a pointer or array of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from qstore_db.simulation.simd import VECTORS, Builder, Context, LaneVector, data_pointer, llvm_vector


def wide_vector(like: Any) -> LaneVector:
    """The type of one float64 number a lane."""
    return LaneVector(types.float64, VECTORS[like.dtype].lanes)


class WideBuilder:
    """LLVM code on one float64 and one int64 number a lane."""

    def __init__(self, builder: Builder, lanes: int) -> None:
        self.builder = builder
        self.real = ir.VectorType(ir.DoubleType(), lanes)
        self.whole = ir.VectorType(ir.IntType(64), lanes)

    def splat(self, number: Any, kind: ir.VectorType) -> Any:
        """The number in every lane."""
        undefined = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
        return self.builder.shuffle_vector(
            first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
        )

    def number(self, value: float) -> Any:
        """A constant in every lane."""
        return ir.Constant(self.real, [value] * self.real.count)

    def integer(self, value: int) -> Any:
        """A whole constant in every lane."""
        return ir.Constant(self.whole, [value] * self.whole.count)

    def call(self, name: str, kind: ir.VectorType, argument: Any) -> Any:
        """An LLVM intrinsic of one argument."""
        letter = "f64" if kind == self.real else "i64"
        function = self.builder.module.globals.get(f"llvm.{name}.v{kind.count}{letter}")
        if function is None:
            function = ir.Function(
                self.builder.module, ir.FunctionType(kind, [kind]), f"llvm.{name}.v{kind.count}{letter}"
            )
        return self.builder.call(function, [argument])

    def load(self, base: Any, offset: Any, kind: ir.VectorType) -> Any:
        """The lanes from element ``offset`` on."""
        value = self.builder.load(self.builder.bitcast(self.builder.gep(base, [offset]), kind.as_pointer()))
        value.align = 8
        return value

    def store(self, value: Any, base: Any, offset: Any) -> None:
        """Writes the lanes from element ``offset`` on."""
        target = self.builder.bitcast(self.builder.gep(base, [offset]), value.type.as_pointer())
        self.builder.store(value, target, align=8)

    def polynomial(self, coefficients: Sequence[float], w: Any) -> Any:
        """Horner's rule; plain products and sums, one rounding each on every machine."""
        total = self.number(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            total = self.builder.fadd(self.builder.fmul(total, w), self.number(coefficient))
        return total

    def crossings(self, own_x: Any, own_z: Any, moved_x: Any, moved_z: Any) -> Any:
        """The sign bit of each lane, set where the string (x, z) anticommutes with the lane's moved string."""
        builder = self.builder
        crossed = builder.xor(builder.and_(own_x, moved_z), builder.and_(own_z, moved_x))
        return builder.shl(self.call("ctpop", self.whole, crossed), self.integer(63))

    def flipped(self, value: Any, signs: Any) -> Any:
        """The numbers with the given sign bits flipped."""
        return self.builder.bitcast(self.builder.xor(self.builder.bitcast(value, self.whole), signs), self.real)


@intrinsic  # type: ignore[untyped-decorator]
def load_wide(typing: Context, like: Any, rows: Any, row: Any) -> Any:
    """Row ``row`` of float64 numbers, one a lane."""
    vector = wide_vector(like)

    def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
        wide = WideBuilder(builder, vector.lanes)
        base = data_pointer(context, builder, signature.args[1], arguments[1])
        offset = builder.mul(arguments[2], ir.Constant(ir.IntType(64), vector.lanes))
        return wide.load(base, offset, wide.real)

    return vector(like, rows, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def splat_wide(typing: Context, like: Any, number: Any) -> Any:
    """The float64 number in every lane."""
    vector = wide_vector(like)

    def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
        wide = WideBuilder(builder, vector.lanes)
        return wide.splat(arguments[1], wide.real)

    return vector(like, types.float64), generate


@intrinsic  # type: ignore[untyped-decorator]
def widened(typing: Context, like: Any, register: Any) -> Any:
    """A register of the state's dtype as float64 numbers."""
    vector = wide_vector(like)

    def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
        return arguments[1] if vector == register else builder.fpext(arguments[1], llvm_vector(vector))

    return vector(like, register), generate


@intrinsic  # type: ignore[untyped-decorator]
def narrowed(typing: Context, like: Any, numbers: Any) -> Any:
    """Float64 numbers rounded to a register of the state's dtype."""
    vector = VECTORS[like.dtype]

    def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
        return arguments[1] if vector == numbers else builder.fptrunc(arguments[1], llvm_vector(vector))

    return vector(like, numbers), generate


@intrinsic  # type: ignore[untyped-decorator]
def signed(typing: Context, numbers: Any, x: Any, z: Any, lane_x: Any, lane_z: Any) -> Any:
    """The numbers, negated in lanes whose moved string (``lane_x``, ``lane_z``) anticommutes with (x, z)."""

    def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
        wide = WideBuilder(builder, numbers.lanes)
        zero = ir.Constant(ir.IntType(64), 0)
        moved = [
            wide.load(data_pointer(context, builder, signature.args[place], arguments[place]), zero, wide.whole)
            for place in (3, 4)
        ]
        own = [wide.splat(arguments[place], wide.whole) for place in (1, 2)]
        return wide.flipped(arguments[0], wide.crossings(*own, *moved))

    return numbers(numbers, types.int64, types.int64, lane_x, lane_z), generate


@intrinsic  # type: ignore[untyped-decorator]
def lane_sum(typing: Context, numbers: Any) -> Any:
    """The sum over the lanes: halves are added until one number is left, the same order on every machine."""

    def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
        total, count = arguments[0], numbers.lanes
        while count > 1:
            count //= 2
            halves = [
                builder.shuffle_vector(
                    total,
                    ir.Constant(total.type, ir.Undefined),
                    ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(start, start + count))),
                )
                for start in (0, count)
            ]
            total = builder.fadd(*halves)
        return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

    return types.float64(numbers), generate
