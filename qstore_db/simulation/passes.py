"""One sweep over the state for up to three Pauli strings at once, written as LLVM code.

The amplitudes fall into cosets {p ⊕ Σ_g b_g x_g}: the 2^G amplitudes that G strings with independent x masks mix. One
coset is loaded into registers, all strings act there, and it is stored again. A *word* per coset holds the row of its
first amplitude (its index doubled, for real and imaginary part) and, from bit 28 on, the sign (-1)^{z_g·p} of each
string. Words are linear in the coset's number, so a short table of low bits and one of high bits, combined by XOR,
serve any number of qubits.

A string is *imaginary* when its matrix P = i X^x Z^z is purely imaginary (an odd number of Y), else P = X^x Z^z is
real.
With s the sign at amplitude a and b = a ⊕ x:
    real       (Pψ)_b = s ψ_a,   (Pψ)_a =  s ψ_b
    imaginary  (Pψ)_b = is ψ_a,  (Pψ)_a = -is ψ_b
The four sweeps (names of the arguments are those of the signatures below):
    rotate      ψ ← Π_g (1 - i t_g P_g) ψ            t from table rows 2j (sign +) and 2j + 1 (sign -)
    moment      out_g = Im⟨λ|P_g|ψ⟩                  the gradient of an angle
    overlap     out_g = ⟨ψ|P_g|ψ⟩ / 2                 a readout
    accumulate  λ ← λ + Σ_g c_g P_g ψ                c from table rows as for rotate
Strings of one sweep are all real or all imaginary, and z_g·x_h is even for g ≠ h, so a sign is the same in all of a
coset but for the string's own flip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from qstore_db.simulation.packing import MASK_COLUMNS, SIGN_BIT
from qstore_db.simulation.simd import (
    VECTORS,
    Builder,
    Context,
    LaneVector,
    data_pointer,
    llvm_vector,
    load_row,
    multiply_add,
    store_row,
)

_INT: Final = ir.IntType(64)
_WORD: Final = ir.IntType(32)


def _number(value: int) -> ir.Constant:
    return ir.Constant(_INT, value)


@dataclass(frozen=True, slots=True)
class _Coset:
    """What the body of a sweep sees: rows of the coset's amplitudes, sign of each string, and register arithmetic."""

    builder: Builder
    vector: LaneVector
    rows: list[Any]
    signs: list[Any]

    @property
    def pairs(self) -> list[tuple[int, int, int]]:
        """(g, a, b) for every string g and amplitude pair b = a ⊕ x_g with a on the side without x_g."""
        return [(g, a, a | 1 << g) for g in range(len(self.signs)) for a in range(len(self.rows)) if not a >> g & 1]

    def load(self, base: Any, part: int) -> list[Any]:
        """Real (0) or imaginary (1) parts of all amplitudes of the coset."""
        rows = [self.builder.add(row, _number(part)) for row in self.rows]
        return [load_row(self.builder, base, row, self.vector) for row in rows]

    def store(self, values: list[Any], base: Any, part: int) -> None:
        """Writes real or imaginary parts back."""
        for row, value in zip(self.rows, values, strict=True):
            store_row(self.builder, value, base, self.builder.add(row, _number(part)), self.vector)

    def signed(self, base: Any, first: Any, flip: Any) -> list[Any]:
        """Row 2(first + g) of a table for sign +, the next one for sign -; ``flip`` exchanges them."""
        builder = self.builder
        return [
            load_row(
                builder,
                base,
                builder.add(builder.shl(builder.add(first, _number(g)), _number(1)), builder.xor(sign, flip)),
                self.vector,
            )
            for g, sign in enumerate(self.signs)
        ]

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        return multiply_add(self.builder, x, y, z)

    def fnma(self, x: Any, y: Any, z: Any) -> Any:
        return multiply_add(self.builder, x, y, z, negative=True)


def _cosets(builder: Builder, vector: LaneVector, masks: list[Any], words: Any, counts: list[Any]) -> Any:
    """Iterates over cosets; ``counts`` are offset and number of the low words, then of the high ones."""
    low, low_count, high, high_count = counts
    shifts = []
    for member in range(1 << len(masks)):
        shift: Any = _number(0)
        for g, mask in enumerate(masks):
            if member >> g & 1:
                shift = builder.xor(shift, mask)
        shifts.append(builder.shl(shift, _number(1)))
    with cgutils.for_range(builder, high_count, intp=_INT) as outer:
        upper = builder.load(builder.gep(words, [builder.add(high, outer.index)]))
        with cgutils.for_range(builder, low_count, intp=_INT) as inner:
            lower = builder.load(builder.gep(words, [builder.add(low, inner.index)]))
            word = builder.xor(upper, lower)
            row = builder.zext(builder.and_(word, ir.Constant(_WORD, (1 << SIGN_BIT) - 1)), _INT)
            signs = [
                builder.zext(
                    builder.and_(builder.lshr(word, ir.Constant(_WORD, SIGN_BIT + g)), ir.Constant(_WORD, 1)), _INT
                )
                for g in range(len(masks))
            ]
            yield _Coset(builder, vector, [builder.xor(row, shift) for shift in shifts], signs)


Body = Callable[[_Coset, bool, dict[str, Any], list[Any]], None]


def _sweep(body: Body, meaning: str, *, sums: bool) -> Any:
    """The intrinsic of one kind of sweep, with a branch for each number of strings and each kind of string.

    With ``sums`` the results go to rows ``first …`` of ``table``.
    """

    def sweep(
        typing: Context, a: Any, a_row: Any, b: Any, b_row: Any, table: Any, first: Any, flip: Any, masks: Any,
        words: Any,
        low: Any, n_low: Any, high: Any, n_high: Any, strings: Any, imaginary: Any,
    ) -> Any:  # fmt: skip
        vector = VECTORS[a.dtype]

        def generate(context: Context, builder: Builder, signature: Any, arguments: Any) -> Any:
            at = _addresses(context, builder, signature.args, arguments, vector)
            for count in (1, 2, 3):
                for kind in (False, True):
                    chosen = builder.and_(
                        builder.icmp_signed("==", arguments[13], _number(count)),
                        builder.icmp_unsigned("==", arguments[14], ir.Constant(ir.IntType(1), int(kind))),
                    )
                    with builder.if_then(chosen):
                        _emit(body, builder, vector, at, list(arguments[9:13]), count, kind, sums)
            return context.get_dummy_value()

        index = types.int64
        return (
            types.void(
                a, index, b, index, table, index, index, masks, words, index, index, index, index, index, types.boolean
            ),
            generate,
        )  # fmt: skip

    sweep.__doc__ = meaning
    return intrinsic(sweep)


def _addresses(context: Context, builder: Builder, kinds: Any, arguments: Any, vector: LaneVector) -> dict[str, Any]:
    """First rows of both states, and where tables start."""
    at = {
        name: data_pointer(context, builder, kinds[place], arguments[place])
        for name, place in (("a", 0), ("b", 2), ("table", 4), ("masks", 7), ("words", 8))
    }
    for name, place in (("a", 1), ("b", 3)):
        at[name] = builder.gep(at[name], [builder.mul(arguments[place], _number(vector.lanes))])
    at["first"], at["flip"] = arguments[5], arguments[6]
    return at


def _emit(
    body: Body, builder: Builder, vector: LaneVector, at: dict[str, Any], counts: list[Any], strings: int,
    imaginary: bool,
    sums: bool,
) -> None:  # fmt: skip
    """The loop over cosets for one number and kind of strings."""
    masks = []
    for g in range(strings):
        place = builder.mul(builder.add(at["first"], _number(g)), _number(MASK_COLUMNS))
        masks.append(builder.load(builder.gep(at["masks"], [place])))
    zero = ir.Constant(llvm_vector(vector), [0.0] * vector.lanes)
    totals = [cgutils.alloca_once_value(builder, zero) for _ in range(strings)] if sums else []
    for total in totals:
        builder.store(zero, total)
    for coset in _cosets(builder, vector, masks, at["words"], counts):
        body(coset, imaginary, at, totals)
    for g, total in enumerate(totals):
        row = builder.add(at["first"], _number(g))
        store_row(builder, builder.load(total), at["table"], row, vector)


def _rotate(coset: _Coset, imaginary: bool, at: dict[str, Any], totals: list[Any]) -> None:
    tangents = coset.signed(at["table"], at["first"], at["flip"])
    real, imag = coset.load(at["a"], 0), coset.load(at["a"], 1)
    for g, a, b in coset.pairs:
        t = tangents[g]
        if imaginary:
            for part in (real, imag):
                part[a], part[b] = coset.fnma(t, part[b], part[a]), coset.fma(t, part[a], part[b])
        else:
            real[a], imag[b] = coset.fma(t, imag[b], real[a]), coset.fnma(t, real[a], imag[b])
            imag[a], real[b] = coset.fnma(t, real[b], imag[a]), coset.fma(t, imag[a], real[b])
    coset.store(real, at["b"], 0)
    coset.store(imag, at["b"], 1)


def _moment(coset: _Coset, imaginary: bool, at: dict[str, Any], totals: list[Any]) -> None:
    builder = coset.builder
    sums: list[Any] = [None] * len(coset.signs)
    for half in (0, 1):  # sixteen registers at a time
        bra = coset.load(at["a"], half)
        ket = coset.load(at["b"], half if imaginary else 1 - half)
        for g, a, b in coset.pairs:
            first = coset.fma if imaginary or not half else coset.fnma
            second = coset.fnma if imaginary or half else coset.fma
            start = sums[g]
            sums[g] = builder.fmul(bra[b], ket[a]) if start is None else first(bra[b], ket[a], start)
            sums[g] = second(bra[a], ket[b], sums[g])
    _add_signed(coset, at, sums, totals)


def _overlap(coset: _Coset, imaginary: bool, at: dict[str, Any], totals: list[Any]) -> None:
    builder = coset.builder
    real, imag = coset.load(at["a"], 0), coset.load(at["a"], 1)
    sums: list[Any] = [None] * len(coset.signs)
    for g, a, b in coset.pairs:
        left, right = (real[a], imag[b]) if imaginary else (real[a], real[b])
        sums[g] = builder.fmul(left, right) if sums[g] is None else coset.fma(left, right, sums[g])
        sums[g] = coset.fnma(imag[a], real[b], sums[g]) if imaginary else coset.fma(imag[a], imag[b], sums[g])
    _add_signed(coset, at, sums, totals)


def _add_signed(coset: _Coset, at: dict[str, Any], sums: list[Any], totals: list[Any]) -> None:
    """total_g ← total_g ± sum_g, the sign as a flipped sign bit: exact, and no multiplication."""
    builder, vector = coset.builder, coset.vector
    bits = ir.IntType(32 if vector.element == types.float32 else 64)
    kind = ir.VectorType(bits, vector.lanes)
    lanes = ir.Constant(ir.VectorType(_WORD, vector.lanes), [0] * vector.lanes)
    for sign, value, total in zip(coset.signs, sums, totals, strict=True):
        narrow = builder.trunc(sign, bits) if bits.width < 64 else sign
        mask = builder.shl(narrow, ir.Constant(bits, bits.width - 1))
        spread = builder.insert_element(ir.Constant(kind, ir.Undefined), mask, ir.Constant(_WORD, 0))
        spread = builder.shuffle_vector(spread, ir.Constant(kind, ir.Undefined), lanes)
        signed = builder.bitcast(builder.xor(builder.bitcast(value, kind), spread), value.type)
        builder.store(builder.fadd(builder.load(total), signed), total)


def _accumulate(coset: _Coset, imaginary: bool, at: dict[str, Any], totals: list[Any]) -> None:
    factors = coset.signed(at["table"], at["first"], at["flip"])
    for half in (0, 1):
        target = coset.load(at["b"], half)
        source = coset.load(at["a"], 1 - half if imaginary else half)
        for g, a, b in coset.pairs:
            c = factors[g]
            if not imaginary:
                target[a], target[b] = coset.fma(c, source[b], target[a]), coset.fma(c, source[a], target[b])
            elif half == 0:  # Re of -is ψ_b and of is ψ_a
                target[a], target[b] = coset.fma(c, source[b], target[a]), coset.fnma(c, source[a], target[b])
            else:
                target[a], target[b] = coset.fnma(c, source[b], target[a]), coset.fma(c, source[a], target[b])
        coset.store(target, at["b"], half)


rotate = _sweep(_rotate, "b ← Π_g (1 - i t_g P_g) a, the tangents t from ``table``.", sums=False)
moment = _sweep(_moment, "Im⟨a|P_g|b⟩.", sums=True)
overlap = _sweep(_overlap, "⟨a|P_g|a⟩ / 2.", sums=True)
accumulate = _sweep(_accumulate, "b ← b + Σ_g c_g P_g a, the coefficients c from ``table``.", sums=False)
