"""A register of samples: one value of sixteen float32 or eight float64 numbers that Numba code can hold.

LLVM lowers ``<16 x float>`` to one register with AVX-512, to two with AVX2, to four with SSE or NEON; the code is the
same. Every operation acts on each lane alone, so a sample's result does not depend on which lane it sits in. The
product-and-add is ``llvm.fmuladd``: one rounding where the machine fuses, two where it cannot, and never a library
call.
"""

from __future__ import annotations

from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

LANES: Final = {"float32": 16, "float64": 8}

# Numba's typing and code generation contexts have no public types.
Context = Any
Builder = Any


class LaneVector(types.Type):  # type: ignore[misc]
    """Numba's type of one register."""

    def __init__(self, element: types.Float, lanes: int) -> None:
        self.element, self.lanes = element, lanes
        super().__init__(name=f"LaneVector({element}, {lanes})")


VECTORS: Final = {
    types.float32: LaneVector(types.float32, LANES["float32"]),
    types.float64: LaneVector(types.float64, LANES["float64"]),
}


def llvm_vector(vector: LaneVector) -> ir.VectorType:
    """The LLVM type of a register."""
    element = ir.FloatType() if vector.element == types.float32 else ir.DoubleType()
    return ir.VectorType(element, vector.lanes)


@register_model(LaneVector)
class _LaneVectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, front_end: LaneVector) -> None:
        super().__init__(manager, front_end, llvm_vector(front_end))


def data_pointer(context: Context, builder: Builder, array_type: Any, array: Any) -> Any:
    """Address of the first element of a C-contiguous array, or a pointer as it is."""
    if isinstance(array_type, types.CPointer):
        return array
    return context.make_array(array_type)(context, builder, array).data


def row_pointer(builder: Builder, base: Any, row: Any, vector: LaneVector) -> Any:
    """Address of row ``row`` of an array seen as rows of one register each."""
    element = builder.gep(base, [builder.mul(row, ir.Constant(row.type, vector.lanes))])
    return builder.bitcast(element, llvm_vector(vector).as_pointer())


def load_row(builder: Builder, base: Any, row: Any, vector: LaneVector) -> Any:
    """The register at row ``row``."""
    value = builder.load(row_pointer(builder, base, row, vector))
    value.align = 4  # arrays from the caller may start anywhere; aligned ones are as quick
    return value


def store_row(builder: Builder, value: Any, base: Any, row: Any, vector: LaneVector) -> None:
    """Writes a register to row ``row``."""
    builder.store(value, row_pointer(builder, base, row, vector), align=4)


def multiply_add(builder: Builder, x: Any, y: Any, z: Any, *, negative: bool = False) -> Any:
    """``z + x·y``, or ``z - x·y``."""
    kind = x.type
    bits = 32 if isinstance(kind.element, ir.FloatType) else 64
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(kind, [kind, kind, kind]), f"llvm.fmuladd.v{kind.count}f{bits}"
    )
    return builder.call(function, [builder.fneg(x) if negative else x, y, z])


@intrinsic  # type: ignore[untyped-decorator]
def pointer(typing: Context, address: Any, like: Any) -> Any:
    """The memory at an address, as a pointer of the type of ``like``.

    Sweeps take pointers: an array argument of a function that is not inlined costs an atomic count up and down.
    """

    def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return like(types.int64, like), generate


@intrinsic  # type: ignore[untyped-decorator]
def shifted(typing: Context, start: Any, count: Any) -> Any:
    """The pointer ``count`` elements further on."""

    def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
        return builder.gep(arguments[0], [arguments[1]])

    return start(start, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def lanes(typing: Context, array: Any) -> Any:
    """Samples in a register of the array's (or pointer's) dtype; a constant to the compiler."""
    count = VECTORS[array.dtype].lanes

    def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
        return context.get_constant(types.intp, count)

    return types.intp(array), generate


@intrinsic  # type: ignore[untyped-decorator]
def load(typing: Context, array: Any, row: Any) -> Any:
    """Row ``row`` of a flat array, or behind a pointer, as a register."""
    vector = VECTORS[array.dtype]

    def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
        base = data_pointer(context, builder, signature.args[0], arguments[0])
        return load_row(builder, base, arguments[1], vector)

    return vector(array, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def store(typing: Context, array: Any, row: Any, value: Any) -> Any:
    """Writes a register to row ``row`` of a flat array, or behind a pointer."""

    def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
        base = data_pointer(context, builder, signature.args[0], arguments[0])
        store_row(builder, arguments[2], base, arguments[1], value)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic  # type: ignore[untyped-decorator]
def splat(typing: Context, array: Any, number: Any) -> Any:
    """The number, rounded to the array's dtype, in every lane of a register of it."""
    vector = VECTORS[array.dtype]

    def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
        kind = llvm_vector(vector)
        undefined = ir.Constant(kind, ir.Undefined)
        element = context.cast(builder, arguments[1], number, vector.element)
        first = builder.insert_element(undefined, element, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), [0] * vector.lanes)
        return builder.shuffle_vector(first, undefined, zeros)

    return vector(array, number), generate


def _elementwise(instruction: str, meaning: str) -> Any:
    def operation(typing: Context, a: Any, b: Any) -> Any:
        def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
            return getattr(builder, instruction)(arguments[0], arguments[1])

        return a(a, a), generate

    operation.__doc__ = meaning
    return intrinsic(operation)


add = _elementwise("fadd", "a + b in every lane.")
subtract = _elementwise("fsub", "a - b in every lane.")
multiply = _elementwise("fmul", "a · b in every lane.")


def _fused(negative: bool, meaning: str) -> Any:
    def operation(typing: Context, x: Any, y: Any, z: Any) -> Any:
        def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
            return multiply_add(builder, *arguments, negative=negative)

        return x(x, x, x), generate

    operation.__doc__ = meaning
    return intrinsic(operation)


fma = _fused(False, "z + x·y in every lane, argument order (x, y, z).")
fnma = _fused(True, "z - x·y in every lane, argument order (x, y, z).")


@intrinsic  # type: ignore[untyped-decorator]
def parity(typing: Context, number: Any) -> Any:
    """1 when an odd number of bits of the 64-bit number is set, else 0."""

    def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.IntType(64), [ir.IntType(64)]), "llvm.ctpop.i64"
        )
        return builder.and_(builder.call(function, [arguments[0]]), ir.Constant(ir.IntType(64), 1))

    return types.int64(types.int64), generate
