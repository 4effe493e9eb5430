"""The kernel as machine code: compiled by Numba once a machine, kept as an object file, loaded by llvmlite alone.

A process that finds the object file needs neither Numba's import nor its dispatcher: it is ready a few milliseconds
after llvmlite is. The code calls nothing but the C library, which is checked when it is made. The file is named after
what it depends on (sources, Numba, llvmlite, processor), and starts with a digest of its content; one that is damaged
is made anew.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import os
import re
import tempfile
import threading
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from qstore_db.simulation.compiled import LANES_SOURCES, OPTIONS, cache_folder
from qstore_db.simulation.job import Job

Precision: TypeAlias = Literal["float32", "float64"]

_NAME: Final = "qstore_simulate"
_DIGEST_BYTES: Final = 32

# Numba's functions return a status and write their result and an error behind their first arguments.
_WRAPPER: Final = """
define i64 @qstore_simulate(ptr %words, i64 %patience) {{
  %result = alloca i64
  %error = alloca ptr
  %status = call i32 @{name}(ptr %result, ptr %error, ptr %words, ptr null, i64 %patience)
  %value = load i64, ptr %result
  ret i64 %value
}}
"""


class Kernel:
    """``entry.simulate`` of one dtype.

    Args:
        code: An object file.
    """

    __slots__ = ("_engine", "_function", "_unused")

    def __init__(self, code: bytes) -> None:
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_default_triple().create_target_machine(jit=True, codemodel="jitdefault")
        self._engine: Any = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        address = self._engine.get_function_address(_NAME)
        kind = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)
        self._function = kind(address)

    def lead(self, job: Job) -> None:
        """Runs a job; the interpreter lock is not held meanwhile."""
        self._function(ctypes.byref(job), 0)

    def serve(self, control: int, patience: int) -> int:
        """Waits at the control words at an address; see ``entry.simulate``."""
        found: int = self._function(control, patience)
        return found


class _Loader:
    """The kernels of this process, each made or loaded by one thread."""

    def __init__(self) -> None:
        self.kernels: dict[Precision, Kernel] = {}
        self._lock = threading.Lock()

    def renew_lock(self) -> None:
        self._lock = threading.Lock()

    def kernel(self, dtype: Precision) -> Kernel:
        with self._lock:
            if dtype not in self.kernels:
                self.kernels[dtype] = Kernel(_stored(dtype) or _made(dtype))
            return self.kernels[dtype]


_loader: Final = _Loader()

# A child process must not inherit a lock that another thread of its parent holds.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_loader.renew_lock)


def kernel(dtype: Precision) -> Kernel:
    """The kernel of a dtype, loaded from disk or compiled now (10 to 20 s)."""
    return _loader.kernels.get(dtype) or _loader.kernel(dtype)


def loaded() -> tuple[Precision, ...]:
    """The dtypes whose kernels this process has."""
    return tuple(_loader.kernels)


def processor() -> tuple[str, str]:
    """Name and features of the processor that code is made for; ``NUMBA_CPU_NAME`` and ``…_FEATURES`` override them."""
    import llvmlite.binding as llvm

    name = os.environ.get("NUMBA_CPU_NAME", "host")
    given = os.environ.get("NUMBA_CPU_FEATURES")
    if name in ("", "host"):
        return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten() if given is None else given
    return name, given or ""


def _file(dtype: Precision) -> Path | None:
    folder = cache_folder(LANES_SOURCES)
    if folder is None:
        return None
    versions = [importlib.metadata.version(name) for name in ("numba", "llvmlite")]
    made_for = hashlib.sha256("\n".join([*versions, *processor(), repr(OPTIONS), _WRAPPER]).encode()).hexdigest()[:16]
    return folder / f"simulate-{dtype}-{made_for}.o"


def _stored(dtype: Precision) -> bytes | None:
    file = _file(dtype)
    if file is None:
        return None
    try:
        content = file.read_bytes()
    except OSError:  # not made yet
        return None
    digest, code = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return code if hashlib.sha256(code).digest() == digest else None


def _made(dtype: Precision) -> bytes:
    code = _object_code(_intermediate_code(dtype))
    file = _file(dtype)
    if file is not None:
        # Whole or not at all: other processes may read or write it now.
        with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as part:
            part.write(hashlib.sha256(code).digest() + code)
        Path(part.name).chmod(0o644)  # the package's folder may serve several users
        Path(part.name).replace(file)
    return code


def _intermediate_code(dtype: Precision) -> str:
    """LLVM code of the kernel and a C function around it."""
    import numba
    from numba import types

    from qstore_db.simulation.entry import simulate

    real = types.float32 if dtype == "float32" else types.float64
    signature = types.int64(types.CPointer(types.int64), types.CPointer(real), types.int64)
    made = numba.njit(signature, **OPTIONS)(simulate)
    code: str = made.inspect_llvm(made.signatures[0])
    names = re.findall(r"^define [^@]*@\"?([\w.$]*simulate[\w.$]*)\"?\(", code, re.MULTILINE)
    (name,) = [name for name in names if not name.startswith(("cfunc.", "_ZN7cpython"))]
    return code + _WRAPPER.format(name=name)


def _object_code(code: str) -> bytes:
    """An object file with nothing of Numba's in it but the kernel."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(code)
    for function in module.functions:
        if not function.is_declaration and function.name != _NAME:
            function.linkage = "internal"
    name, features = processor()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=name, features=features, opt=3, reloc="default", codemodel="jitdefault", jit=True
    )
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
    foreign = [
        function.name
        for function in module.functions
        if function.is_declaration and function.name.startswith(("numba", "NRT", "Py", "_Py"))
    ]
    if foreign:
        raise RuntimeError(f"the kernel calls {', '.join(foreign)}, which only Numba can provide")
    made: bytes = machine.emit_object(module)
    return made
