"""64-bit words that two threads share, for compiled code."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from qstore_db.simulation.simd import Builder, Context


@intrinsic  # type: ignore[untyped-decorator]
def fetch_add(typing: Context, words: Any, place: Any) -> Any:
    """Adds one to a word; its value before."""

    def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
        word = builder.gep(arguments[0], [arguments[1]])
        return builder.atomic_rmw("add", word, ir.Constant(ir.IntType(64), 1), "acq_rel")

    return types.int64(words, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def load_word(typing: Context, words: Any, place: Any) -> Any:
    """A word; what was written before it was stored is seen afterwards."""

    def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(builder.gep(arguments[0], [arguments[1]]), "acquire", 8)

    return types.int64(words, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def store_word(typing: Context, words: Any, place: Any, value: Any) -> Any:
    """Writes a word after everything that was written before."""

    def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
        builder.store_atomic(arguments[2], builder.gep(arguments[0], [arguments[1]]), "release", 8)
        return context.get_dummy_value()

    return types.void(words, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def exchange_word(typing: Context, words: Any, place: Any, old: Any, new: Any) -> Any:
    """Writes ``new`` if the word is ``old``; whether it was."""

    def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
        word = builder.gep(arguments[0], [arguments[1]])
        return builder.extract_value(builder.cmpxchg(word, arguments[2], arguments[3], "acq_rel", "acquire"), 1)

    return types.boolean(words, types.int64, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def address_of(typing: Context, words: Any) -> Any:
    """The address that a pointer holds."""

    def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
        return builder.ptrtoint(arguments[0], ir.IntType(64))

    return types.int64(words), generate
