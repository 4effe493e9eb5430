"""Registers for comparing rows of codes with each other: 8-bit numbers on both sides, no query in between.

The same rules as in :mod:`storage_engine.vectors.simd`: addresses instead of arrays, LLVM lowers to what there is.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from storage_engine.vectors.simd import _FLOATS, _call, _load, _pair_products, intrinsic

_BYTES = ir.VectorType(ir.IntType(8), 32)
_WORDS = ir.VectorType(ir.IntType(16), 32)
_FEW_BYTES = ir.VectorType(ir.IntType(8), 16)


def _difference(builder: Any, x: Any, y: Any) -> Any:
    """32 int16: bytes at one address less those at another."""
    left, right = (builder.zext(_load(builder, address, _BYTES), _WORDS) for address in (x, y))
    return builder.sub(left, right)


@intrinsic
def add_code_squares(typing: Any, total: Any, x: Any, y: Any) -> Any:
    """``total + (c - c')²`` of 32 bytes at two addresses, spread over 16 int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        difference = _difference(builder, arguments[1], arguments[2])
        return builder.add(arguments[0], _pair_products(context, builder, difference, difference))

    return total(total, types.intp, types.intp), generate


@intrinsic
def add_masked_code_squares(typing: Any, total: Any, x: Any, y: Any, mask: Any) -> Any:
    """The same where the bytes at a third address are 255, nothing where they are 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        chosen = builder.sext(_load(builder, arguments[3], _BYTES), _WORDS)
        difference = builder.and_(_difference(builder, arguments[1], arguments[2]), chosen)
        return builder.add(arguments[0], _pair_products(context, builder, difference, difference))

    return total(total, types.intp, types.intp, types.intp), generate


def _floats(builder: Any, address: Any) -> Any:
    return builder.uitofp(_load(builder, address, _FEW_BYTES), _FLOATS)


@intrinsic
def add_stepped_squares(typing: Any, total: Any, x: Any, y: Any, step: Any) -> Any:
    """``total + (step (c - c'))²`` of 16 bytes at two addresses and 16 float32 at a third."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        difference = builder.fsub(_floats(builder, arguments[1]), _floats(builder, arguments[2]))
        scaled = builder.fmul(difference, _load(builder, arguments[3], _FLOATS))
        return _call(builder, "llvm.fmuladd.v16f32", _FLOATS, [scaled, scaled, arguments[0]])

    return total(total, types.intp, types.intp, types.intp), generate


@intrinsic
def add_stepped_products(typing: Any, total: Any, x: Any, y: Any, step: Any, low: Any) -> Any:
    """``total + (low + step c)(low + step c')`` of 16 bytes at two addresses and 16 float32 at two more."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        step, low = (_load(builder, address, _FLOATS) for address in arguments[3:])
        left, right = (
            _call(builder, "llvm.fmuladd.v16f32", _FLOATS, [_floats(builder, address), step, low])
            for address in arguments[1:3]
        )
        return _call(builder, "llvm.fmuladd.v16f32", _FLOATS, [left, right, arguments[0]])

    return total(total, types.intp, types.intp, types.intp, types.intp), generate
