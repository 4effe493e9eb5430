"""Registers, loads and prefetch for compiled kernels: a few LLVM instructions as Numba intrinsics.

Kernels work on addresses, not arrays: an array argument of a Numba function that is not inlined costs an atomic
increment and decrement of its reference count, more than a whole distance. The caller keeps the arrays alive.
``llvm.fmuladd`` is used and never ``llvm.fma``, which is a library call per lane on processors without the
instruction. LLVM lowers 16 lanes to whatever registers the processor has.

Numba's cache of compiled code looks at the file of the function itself only. Whoever edits this file removes
``__pycache__/*.nb?`` beside the kernels that use it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as _numba_intrinsic
from numba.extending import models, register_model

intrinsic: Callable[[Callable[..., Any]], Any] = _numba_intrinsic


def compiled(function: Callable[..., Any]) -> Any:
    """Compile on first call, without the GIL, and keep the machine code on disk where a cache can be written."""
    try:
        return numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # no writable place for the cache: the same code, compiled again in each process
        return numba.njit(nogil=True, error_model="numpy")(function)


class Register(types.Type):  # type: ignore[misc]
    """A vector register as a Numba type.

    Args:
        name: Unique among Numba types.
        vector: The LLVM type.
    """

    def __init__(self, name: str, vector: ir.VectorType) -> None:
        self.vector = vector
        super().__init__(name=name)


@register_model(Register)
class _RegisterModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, register: Register) -> None:
        super().__init__(manager, register, register.vector)


_FLOATS = ir.VectorType(ir.FloatType(), 16)
_DOUBLES = ir.VectorType(ir.DoubleType(), 8)
_KEYS = ir.VectorType(ir.IntType(64), 8)
F16 = Register("qstore_16_float32", _FLOATS)
D8 = Register("qstore_8_float64", _DOUBLES)
_I32 = ir.IntType(32)
_INTEGERS = ir.VectorType(_I32, 16)
I16 = Register("qstore_16_int32", _INTEGERS)
_BYTE_POINTER = ir.IntType(8).as_pointer()


def _pointer(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def _load(builder: Any, address: Any, kind: Any) -> Any:
    loaded = builder.load(_pointer(builder, address, kind))
    loaded.align = 1  # rows of any dimension start anywhere
    return loaded


def _call(builder: Any, name: str, result: Any, arguments: list[Any], fastmath: tuple[str, ...] = ()) -> Any:
    signature = ir.FunctionType(result, [argument.type for argument in arguments])
    declared = cgutils.get_or_insert_function(builder.module, signature, name)
    return builder.call(declared, arguments, fastmath=fastmath)


def _lanes(builder: Any, vector: Any, first: int, count: int) -> Any:
    chosen = ir.Constant(ir.VectorType(_I32, count), list(range(first, first + count)))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), chosen)


def _scalar_load(numba_type: Any, kind: Any) -> Any:
    @intrinsic
    def load(typing: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return _load(builder, arguments[0], kind)

        return numba_type(types.intp), generate

    return load


def _scalar_store(numba_type: Any, kind: Any) -> Any:
    @intrinsic
    def store(typing: Any, address: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            builder.store(arguments[1], _pointer(builder, arguments[0], kind), align=1)
            return context.get_dummy_value()

        return types.void(types.intp, numba_type), generate

    return store


load_f32 = _scalar_load(types.float32, ir.FloatType())
load_f64 = _scalar_load(types.float64, ir.DoubleType())
load_i64 = _scalar_load(types.int64, ir.IntType(64))
load_i32 = _scalar_load(types.int32, _I32)
load_u16 = _scalar_load(types.uint16, ir.IntType(16))
load_i16 = _scalar_load(types.int16, ir.IntType(16))
load_u8 = _scalar_load(types.uint8, ir.IntType(8))
store_f32 = _scalar_store(types.float32, ir.FloatType())
store_f64 = _scalar_store(types.float64, ir.DoubleType())
store_i64 = _scalar_store(types.int64, ir.IntType(64))
store_i32 = _scalar_store(types.int32, _I32)
store_u16 = _scalar_store(types.uint16, ir.IntType(16))
store_i16 = _scalar_store(types.int16, ir.IntType(16))


@intrinsic
def zero_f16(typing: Any) -> Any:
    """16 float32 zeros."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(_FLOATS, [0.0] * 16)

    return F16(), generate


@intrinsic
def add_square(typing: Any, total: Any, x: Any, q: Any) -> Any:
    """``total + (x - q)²`` of 16 float32 at two addresses."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        difference = builder.fsub(*(_load(builder, address, _FLOATS) for address in arguments[1:]))
        return _call(builder, "llvm.fmuladd.v16f32", _FLOATS, [difference, difference, arguments[0]])

    return total(total, types.intp, types.intp), generate


@intrinsic
def add_masked_square(typing: Any, total: Any, x: Any, q: Any, mask: Any) -> Any:
    """``total + ((x - q)·mask)²`` of 16 float32 at three addresses."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left, right, mask = (_load(builder, address, _FLOATS) for address in arguments[1:])
        difference = builder.fmul(builder.fsub(left, right), mask)
        return _call(builder, "llvm.fmuladd.v16f32", _FLOATS, [difference, difference, arguments[0]])

    return total(total, types.intp, types.intp, types.intp), generate


@intrinsic
def add_product(typing: Any, total: Any, x: Any, q: Any) -> Any:
    """``total + x·q`` of 16 float32 at two addresses."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        factors = [_load(builder, address, _FLOATS) for address in arguments[1:]]
        return _call(builder, "llvm.fmuladd.v16f32", _FLOATS, [*factors, arguments[0]])

    return total(total, types.intp, types.intp), generate


@intrinsic
def sum_f16(typing: Any, x: Any, y: Any) -> Any:
    """The sum of all 32 lanes of two registers, in any order."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = ir.Constant(ir.FloatType(), 0.0)
        both = builder.fadd(*arguments)
        return _call(builder, "llvm.vector.reduce.fadd.v16f32", ir.FloatType(), [start, both], fastmath=("reassoc",))

    return types.float32(x, y), generate


def _has(context: Any, feature: str) -> bool:
    """Whether the processor that is compiled for has an instruction set; its features are in the cache's key."""
    return f"+{feature}" in context.codegen().magic_tuple()[2].split(",")


def _pair_products(context: Any, builder: Any, x: Any, y: Any) -> Any:
    """Sums of neighbouring products: 32 int16 and 32 int16 give 16 int32."""
    if _has(context, "avx512bw"):
        return _call(builder, "llvm.x86.avx512.pmaddw.d.512", _INTEGERS, [x, y])
    if _has(context, "avx2"):
        half = ir.VectorType(_I32, 8)
        low, high = (
            _call(
                builder,
                "llvm.x86.avx2.pmadd.wd",
                half,
                [_lanes(builder, x, at, 16), _lanes(builder, y, at, 16)],
            )
            for at in (0, 16)
        )
        return builder.shuffle_vector(low, high, ir.Constant(_INTEGERS, list(range(16))))
    wide = ir.VectorType(_I32, 32)
    products = builder.mul(builder.sext(x, wide), builder.sext(y, wide))
    even, odd = (
        builder.shuffle_vector(
            products, ir.Constant(wide, ir.Undefined), ir.Constant(_INTEGERS, list(range(parity, 32, 2)))
        )
        for parity in (0, 1)
    )
    return builder.add(even, odd)


@intrinsic
def zero_i16(typing: Any) -> Any:
    """16 int32 zeros."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(_INTEGERS, [0] * 16)

    return I16(), generate


@intrinsic
def add_code_products(typing: Any, total: Any, codes: Any, query: Any) -> Any:
    """``total`` plus the products of 64 bytes at one address with 64 int16 at another, spread over 16 int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, code, query = arguments
        for half in (0, 32):
            at = ir.Constant(ir.IntType(64), half)
            narrow = _load(builder, builder.add(code, at), ir.VectorType(ir.IntType(8), 32))
            x = builder.zext(narrow, ir.VectorType(ir.IntType(16), 32))
            y = _load(builder, builder.add(query, builder.add(at, at)), ir.VectorType(ir.IntType(16), 32))
            sums = builder.add(sums, _pair_products(context, builder, x, y))
        return sums

    return total(total, types.intp, types.intp), generate


@intrinsic
def sum_i16(typing: Any, x: Any, y: Any) -> Any:
    """The sum of all 32 int32 of two registers."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _call(builder, "llvm.vector.reduce.add.v16i32", _I32, [builder.add(*arguments)])

    return types.int32(x, y), generate


@intrinsic
def zero_d8(typing: Any) -> Any:
    """8 float64 zeros."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(_DOUBLES, [0.0] * 8)

    return D8(), generate


def _wide_term(square: bool) -> Any:
    @intrinsic
    def add(typing: Any, total: Any, x: Any, q: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            narrow = _load(builder, arguments[1], ir.VectorType(ir.FloatType(), 8))
            row = builder.fpext(narrow, _DOUBLES)
            query = _load(builder, arguments[2], _DOUBLES)
            if square:
                row = query = builder.fsub(row, query)
            return builder.fadd(arguments[0], builder.fmul(row, query))  # two roundings, as NumPy does

        return total(total, types.intp, types.intp), generate

    return add


add_wide_square, add_wide_product = _wide_term(square=True), _wide_term(square=False)


@intrinsic
def add_d8(typing: Any, x: Any, y: Any) -> Any:
    """The sum of two registers, lane by lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fadd(*arguments)

    return x(x, y), generate


@intrinsic
def fold_d8(typing: Any, x: Any) -> Any:
    """The sum of 8 lanes by halves: lanes 0-3 plus 4-7, then 0-1 plus 2-3, then 0 plus 1."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        folded = arguments[0]
        for half in (4, 2):
            folded = builder.fadd(_lanes(builder, folded, 0, half), _lanes(builder, folded, half, half))
        ends = [builder.extract_element(folded, ir.Constant(_I32, lane)) for lane in (0, 1)]
        return builder.fadd(*ends)

    return types.float64(x), generate


@intrinsic
def prefetch(typing: Any, address: Any) -> Any:
    """Ask for the cache line at an address; no fault if there is none."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], _BYTE_POINTER)
        _call(builder, "llvm.prefetch.p0", ir.VoidType(), [pointer, *(ir.Constant(_I32, k) for k in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(types.intp), generate


@intrinsic
def insert_key_in_block(typing: Any, address: Any, key: Any) -> Any:
    """One step of inserting a key into ascending int64 keys, for the 8 keys at an address.

    ``new[t] = max(old[t-1], min(old[t], key))``: no branch and no search. Blocks are taken from the last to the first;
    the key before the first must be the smallest int64.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        undefined = ir.Constant(_KEYS, ir.Undefined)
        first = builder.insert_element(undefined, arguments[1], ir.Constant(_I32, 0))
        key = builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, 8), [0] * 8))
        old = _load(builder, arguments[0], _KEYS)
        previous = _load(builder, builder.sub(arguments[0], ir.Constant(ir.IntType(64), 8)), _KEYS)
        smaller = _call(builder, "llvm.smin.v8i64", _KEYS, [old, key])
        new = _call(builder, "llvm.smax.v8i64", _KEYS, [previous, smaller])
        builder.store(new, _pointer(builder, arguments[0], _KEYS), align=8)
        return context.get_dummy_value()

    return types.void(types.intp, types.int64), generate


@intrinsic
def bits_of(typing: Any, value: Any) -> Any:
    """The 32 bits of a float32 as int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], _I32)

    return types.int32(types.float32), generate


@intrinsic
def float_of(typing: Any, bits: Any) -> Any:
    """The float32 that has these 32 bits, an int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def widen_halves(typing: Any, source: Any, target: Any) -> Any:
    """Write 16 finite float16 of one address as float32 to another.

    The bits of a float16, shifted into a float32's places, are the number times 2**-112; also for subnormal ones. So
    this is exact, and needs no instruction or library of its own.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        halves = _load(builder, arguments[0], ir.VectorType(ir.IntType(16), 16))
        bits = builder.zext(halves, _INTEGERS)
        size = builder.shl(builder.and_(bits, ir.Constant(_INTEGERS, [0x7FFF] * 16)), ir.Constant(_INTEGERS, [13] * 16))
        sign = builder.shl(builder.and_(bits, ir.Constant(_INTEGERS, [0x8000] * 16)), ir.Constant(_INTEGERS, [16] * 16))
        scaled = builder.fmul(builder.bitcast(size, _FLOATS), ir.Constant(_FLOATS, [2.0**112] * 16))
        signed = builder.or_(builder.bitcast(scaled, _INTEGERS), sign)
        builder.store(builder.bitcast(signed, _FLOATS), _pointer(builder, arguments[1], _FLOATS), align=1)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate


@intrinsic
def widen_bytes(typing: Any, source: Any, target: Any) -> Any:
    """Write 16 int8 of one address as float32 to another."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        numbers = _load(builder, arguments[0], ir.VectorType(ir.IntType(8), 16))
        wide = builder.sitofp(builder.sext(numbers, _INTEGERS), _FLOATS)
        builder.store(wide, _pointer(builder, arguments[1], _FLOATS), align=1)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate
