"""OpenQASM text as a circuit: the unitary part of versions 2 and 3, by recursive descent.

Understood: registers, the gates of :data:`~qstore_db.circuits.standard_gates.STANDARD_GATES`, ``gate`` definitions,
calls on qubits and on whole registers, parameter expressions, ``input`` parameters of version 3 named w0, w1 …
(weights) and x0, x1 … (data), and classical registers, which stay unused. ``barrier`` is checked and left out, for it
changes no state; so is ``gphase``, a global phase. Everything else (measurement, reset, conditions, loops, modifiers)
is an error that names line and column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.parameters import Angle, angle
from qstore_db.circuits.qasm.expressions import Expression, ExpressionParser
from qstore_db.circuits.qasm.registers import Registers, broadcast, read_integer
from qstore_db.circuits.qasm.tokens import Token, TokenStream, described, refuse, tokens_of
from qstore_db.circuits.standard_gates import STANDARD_GATES, StandardGate
from qstore_db.circuits.symbol_names import symbol_named
from qstore_db.errors import InvalidCircuitError

MAX_CALLS: Final = 1_000_000
"""Gate calls after definitions are written out; a short text of nested definitions can ask for far more."""

MAX_DEFINITION_DEPTH: Final = 64

_LIBRARIES: Final = {2: ("qelib1.inc",), 3: ("stdgates.inc", "qelib1.inc")}
_BUILT_IN: Final = ("U", "CX", "gphase")
_REFUSED: Final = {
    **dict.fromkeys(("measure", "reset"), "a circuit here is unitary; remove it and read results from the state"),
    **dict.fromkeys(
        ("if", "else", "for", "while", "switch", "return", "end"), "there is no control flow; write it out"
    ),
    **dict.fromkeys(("ctrl", "negctrl", "inv", "pow"), "gate modifiers are not read; use the gate's own name"),
    **dict.fromkeys(("def", "extern", "defcal", "defcalgrammar", "cal", "box", "delay", "duration", "stretch"), ""),
    **dict.fromkeys(
        ("opaque", "pragma", "let", "const", "output", "array", "int", "uint", "float", "angle", "bool"), ""
    ),
}


@dataclass(frozen=True, slots=True)
class _Call:
    """One gate call in a definition: who, with which values, on which of the definition's qubits."""

    gate: StandardGate | _Definition
    values: tuple[Expression, ...]
    qubits: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Definition:
    """A ``gate`` statement: its parameters' names, and the calls of its body on its own qubits."""

    parameters: tuple[str, ...]
    qubits: int
    body: tuple[_Call, ...]
    calls: int
    depth: int

    @property
    def angles(self) -> int:
        return len(self.parameters)


def from_qasm(text: str) -> Circuit:
    """The circuit of an OpenQASM 2 or 3 program, up to a global phase.

    Qubits are numbered in the order of their declarations: the first register's element 0 is qubit 0. A definition in
    the text goes before the standard gate of the same name.

    Args:
        text: The program, with its version in the first statement.

    Raises:
        InvalidCircuitError: The text is not OpenQASM, or uses what is not understood here; the message begins with line
            and column.

    Example:
        >>> from_qasm('OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; h q; cx q[0], q[1];').operations[2].gate
        'CX'
    """
    if not isinstance(text, str):
        raise InvalidCircuitError(f"{type(text).__name__} is not a text", fix="Give the program as str.", value=text)
    return _Reader(text).read()


class _Reader:
    """The state of one reading."""

    def __init__(self, text: str) -> None:
        self._stream = TokenStream(tokens_of(text))
        self._version = 0
        self._library = False
        self._registers = Registers()
        self._classical: set[str] = set()
        self._inputs: dict[str, Angle] = {}
        self._definitions: dict[str, _Definition] = {}
        self._declarations: dict[str, Callable[[Token], None]] = {}
        self._operations: list[Operation] = []
        self._calls = 0

    def read(self) -> Circuit:
        self._read_version()
        self._declarations = self._declared_by()
        while self._stream.next.kind != "end":
            self._statement()
        if not self._registers.n_qubits:
            refuse(self._stream.next, "the program has no qubits", "Declare a register.")
        return Circuit(self._registers.n_qubits, self._operations)

    def _read_version(self) -> None:
        self._stream.expect("OPENQASM")
        token = self._stream.expect_kind("number", "2.0 or 3.0")
        if token.text not in ("2", "2.0", "3", "3.0", "3.1"):
            refuse(token, f"there is no OpenQASM {token.text}", "Use 2.0, 3.0 or 3.1.")
        self._version = int(token.text[0])
        self._stream.expect(";")

    def _statement(self) -> None:
        token = self._stream.expect_kind("name", "a statement")
        kind = self._declarations.get(token.text)
        if kind is not None:
            kind(token)
        elif token.text in _REFUSED and token.text not in self._definitions:
            refuse(token, f"{token.text!r} is not understood", _REFUSED[token.text] or "Remove it.")
        elif token.text in self._classical:
            refuse(token, f"nothing can be assigned to {token.text!r}", _REFUSED["measure"])
        else:
            self._top_level_call(token)

    def _declared_by(self) -> dict[str, Callable[[Token], None]]:
        both: dict[str, Callable[[Token], None]] = {
            "include": self._include,
            "qreg": self._register,
            "creg": self._bits,
            "gate": self._definition,
            "barrier": self._barrier,
        }
        if self._version == 2:
            return both
        return both | {
            "qubit": self._sized_before, "bit": self._sized_before, "input": self._input, "gphase": self._global_phase
        }  # fmt: skip

    def _include(self, token: Token) -> None:
        name = self._stream.expect_kind("string", "a file name in quotes")
        if name.text not in _LIBRARIES[self._version]:
            allowed = ", ".join(_LIBRARIES[self._version])
            refuse(name, f"the file {name.text!r} is not read", f"Include {allowed}; write other gates into the text.")
        self._library = True
        self._stream.expect(";")

    def _register(self, token: Token) -> None:
        name, size = self._sized_after()
        self._registers.declare(name, size)

    def _bits(self, token: Token) -> None:
        name, _ = self._sized_after()
        self._classical.add(name.text)

    def _sized_after(self) -> tuple[Token, int]:
        name = self._new_name()
        self._stream.expect("[")
        size = read_integer(self._stream)
        self._stream.expect("]")
        self._stream.expect(";")
        return name, size

    def _sized_before(self, token: Token) -> None:
        size = 1
        if self._stream.accept("["):
            size = read_integer(self._stream)
            self._stream.expect("]")
        name = self._new_name()
        self._stream.expect(";")
        if token.text == "bit":
            self._classical.add(name.text)
        else:
            self._registers.declare(name, size)

    def _input(self, token: Token) -> None:
        kind = self._stream.expect_kind("name", "a type")
        if kind.text not in ("float", "angle"):
            refuse(kind, f"an input of type {kind.text!r} is not understood", "Use float or angle.")
        if self._stream.accept("["):
            read_integer(self._stream)
            self._stream.expect("]")
        name = self._new_name()
        try:
            self._inputs[name.text] = angle(symbol_named(name.text))
        except InvalidCircuitError as error:
            refuse(name, error.what, error.fix)
        self._stream.expect(";")

    def _new_name(self) -> Token:
        name = self._stream.expect_kind("name", "a name")
        if name.text in self._registers or name.text in self._classical or name.text in self._inputs:
            refuse(name, f"{name.text!r} is declared twice", "Use another name.")
        return name

    def _barrier(self, token: Token) -> None:
        while not self._stream.at(";"):
            self._registers.read_argument(self._stream)
            if not self._stream.accept(","):
                break
        self._stream.expect(";")

    def _global_phase(self, token: Token) -> None:
        for value in self._values(self._inputs):
            value(self._inputs)
        self._stream.expect(";")

    def _definition(self, token: Token) -> None:
        name = self._stream.expect_kind("name", "a name")
        if name.text in self._definitions or name.text in _BUILT_IN:
            refuse(name, f"gate {name.text!r} is defined twice", "Use another name.")
        parameters: tuple[str, ...] = ()
        if self._stream.accept("("):
            parameters = self._names(")")
            self._stream.expect(")")
        qubits = self._names("{")
        self._stream.expect("{")
        body = []
        while not self._stream.accept("}"):
            call = self._body_call(parameters, qubits)
            if call is not None:
                body.append(call)
        nested = [call.gate for call in body if isinstance(call.gate, _Definition)]
        definition = _Definition(
            parameters,
            len(qubits),
            tuple(body),
            1 + sum(call.gate.calls if isinstance(call.gate, _Definition) else 1 for call in body),
            1 + max((inner.depth for inner in nested), default=0),
        )
        if definition.depth > MAX_DEFINITION_DEPTH or not qubits:
            refuse(name, f"gate {name.text!r} has no qubits or is too deep", f"Nest at most {MAX_DEFINITION_DEPTH}.")
        self._definitions[name.text] = definition

    def _names(self, end: str) -> tuple[str, ...]:
        names: list[str] = []
        while not self._stream.at(end):
            name = self._stream.expect_kind("name", "a name")
            if name.text in names:
                refuse(name, f"{name.text!r} stands twice", "Use another name.")
            names.append(name.text)
            if not self._stream.accept(","):
                break
        return tuple(names)

    def _body_call(self, parameters: Sequence[str], qubits: Sequence[str]) -> _Call | None:
        token = self._stream.expect_kind("name", "a gate or '}'")
        if token.text == "gphase" and self._version == 3:
            self._values(parameters)
            self._stream.expect(";")
            return None
        values: tuple[Expression, ...] = ()
        gate = None
        if token.text != "barrier":
            gate = self._gate(token)
            values = self._values(parameters)
        chosen: list[int] = []
        while not self._stream.at(";"):
            name = self._stream.expect_kind("name", "a qubit of the definition")
            if name.text not in qubits or qubits.index(name.text) in chosen:
                refuse(name, f"{name.text!r} is no qubit of the definition, or stands twice", f"Use {list(qubits)}.")
            chosen.append(qubits.index(name.text))
            if not self._stream.accept(","):
                break
        self._stream.expect(";")
        if gate is None:
            return None
        self._check_counts(token, gate, len(values), len(chosen))
        return _Call(gate, values, tuple(chosen))

    def _top_level_call(self, token: Token) -> None:
        gate = self._gate(token)
        values = self._values(self._inputs)
        arguments = []
        while not self._stream.at(";"):
            arguments.append(self._registers.read_argument(self._stream))
            if not self._stream.accept(","):
                break
        self._stream.expect(";")
        self._check_counts(token, gate, len(values), len(arguments))
        angles = [value(self._inputs) for value in values]
        for qubits in broadcast(token, arguments):
            self._calls += gate.calls if isinstance(gate, _Definition) else 1
            if self._calls > MAX_CALLS:
                refuse(token, f"the program makes more than {MAX_CALLS} gate calls", "Split it.")
            self._emit(gate, angles, qubits)

    def _values(self, names: Sequence[str] | dict[str, Angle]) -> tuple[Expression, ...]:
        if not self._stream.accept("("):
            return ()
        parser = ExpressionParser(self._stream, self._version, names)
        values = []
        while not self._stream.at(")"):
            values.append(parser.parse())
            if not self._stream.accept(","):
                break
        self._stream.expect(")")
        return tuple(values)

    def _gate(self, token: Token) -> StandardGate | _Definition:
        known: StandardGate | _Definition | None = self._definitions.get(token.text)
        if known is None and (self._library or token.text in _BUILT_IN):
            known = STANDARD_GATES.get(token.text)
        if known is None:
            missing = "" if self._library else f' include "{_LIBRARIES[self._version][0]}" or'
            refuse(token, f"there is no gate {described(token)}", f"Spell it as OpenQASM does,{missing} define it.")
        return known

    def _check_counts(self, token: Token, gate: StandardGate | _Definition, values: int, qubits: int) -> None:
        if (values, qubits) != (gate.angles, gate.qubits):
            refuse(
                token,
                f"{token.text} takes {gate.angles} angle(s) and {gate.qubits} qubit(s), not {values} and {qubits}",
                "Give as many.",
            )

    def _emit(self, gate: StandardGate | _Definition, angles: Sequence[Angle], qubits: Sequence[int]) -> None:
        if isinstance(gate, StandardGate):
            self._operations += gate.build(qubits, angles)
            return
        names = dict(zip(gate.parameters, angles, strict=True))
        for call in gate.body:
            inner = [value(names) for value in call.values]
            self._emit(call.gate, inner, [qubits[place] for place in call.qubits])
