"""What a compiler and an assembler say of a kernel, on a machine without a GPU.

`faults` reads PTX, the text a driver takes: what it must not hold, so that IEEE alone fixes the
bits. `measure` assembles it and counts in the machine code: what a kernel costs.
"""

import re
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Capability = tuple[int, int]
PtxOf = Callable[[str, Capability], str]

CAPABILITIES: Final[tuple[Capability, ...]] = ((8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0))
ISA_MAJOR_MAX: Final = 9  # Drivers of the CUDA 13 family take PTX up to 9.x.
TOOLS: Final = Path(sysconfig.get_paths()["purelib"]) / "nvidia" / "cu13" / "bin"

# Line information stands between instructions and ends without a semicolon.
_NO_CODE: Final = re.compile(r"(?sm)//[^\n]*|/\*.*?\*/|^\s*\.(?:loc|file)\b[^\n]*")
_LABEL_OR_PREDICATE: Final = re.compile(r"^(?:[$%\w]+:\s*)*(?:@!?%\w+\s+)?")
_FLOAT: Final = re.compile(r"b?f(?:16|32|64)(?:x2)?|e\dm\d.*|tf32")
_SASS: Final = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P[T\d]\s+)?([A-Z][\w.]*)")
_DOUBLE: Final = re.compile(r"D(?:ADD|MUL|FMA|SETP|MNMX|MMA)\b|.*F64|MUFU\..*64H")
_ROUNDED: Final = {"add", "sub", "mul", "div", "sqrt", "rcp"}
_FUSED: Final = {"fma", "mad"}
_ATOMIC: Final = {"atom", "red"}


@dataclass(frozen=True)
class Figures:
    """Cost of one kernel on one architecture; counts are of instructions in the machine code."""

    registers: int  # Per thread.
    stack_bytes: int  # Per thread, as everything local.
    spill_store_bytes: int
    spill_load_bytes: int
    shared_bytes: int  # Per block, static.
    instructions: int  # Without padding.
    global_loads: int  # Generic ones among them.
    global_stores: int
    local_accesses: int
    shared_accesses: int
    atomics: int
    double: int  # Instructions that compute in, or convert from or to, double precision.


def faults(ptx: str, *, double_allowed: bool = False) -> list[str]:
    """What in a kernel's PTX leaves its bits to a compiler, a flag or a race; empty for none.

    Args:
        ptx: The text of one module.
        double_allowed: The kernel is one of those declared to compute in double precision.

    Returns:
        One sentence per rule and opcode, in order of appearance.
    """
    found = [] if _isa_major(ptx) <= ISA_MAJOR_MAX else [f"PTX ISA {_isa_major(ptx)} is too new"]
    for opcode in opcodes(ptx):
        found += [f"{opcode}: {rule}" for rule in _broken_rules(opcode, double_allowed)]
    return list(dict.fromkeys(found))


def opcodes(ptx: str) -> Iterator[str]:
    """Every instruction's opcode with its modifiers, in order of the text."""
    for statement in re.split(r"[;{}]", _NO_CODE.sub("", ptx)):
        words = _LABEL_OR_PREDICATE.sub("", statement.strip()).split(maxsplit=1)
        if words and re.fullmatch(r"[a-z][\w.:]*", words[0]):
            yield words[0]


def _broken_rules(opcode: str, double_allowed: bool) -> Iterator[str]:
    name, *modifiers = opcode.split(".")
    floating = any(_FLOAT.fullmatch(modifier) for modifier in modifiers)
    if floating and name in _ROUNDED and "rn" not in modifiers:
        yield "rounding is not fixed to nearest"
    if floating and name in _FUSED:
        yield "a product and a sum are fused"
    if "ftz" in modifiers:
        yield "denormals are flushed"
    if "approx" in modifiers or "full" in modifiers:
        yield "the result is approximate"
    if not double_allowed and "f64" in modifiers:
        yield "double precision"
    if floating and name in _ATOMIC:
        yield "a float is updated atomically"


def _isa_major(ptx: str) -> int:
    version = re.search(r"^\.version\s+(\d+)\.\d+", ptx, re.MULTILINE)
    assert version, "no .version directive: this is no PTX"
    return int(version[1])


def measure(ptx: str, capability: Capability) -> Figures:
    """Assemble a module of one kernel, without contraction, and count in its machine code.

    Args:
        ptx: The text of the module.
        capability: Compute capability to assemble for, (major, minor).

    Returns:
        The kernel's figures.

    Raises:
        ValueError: The module holds no kernel or several, or the assembler refuses it.
    """
    entries = re.findall(r"\.entry\s+(\S+?)\(", ptx)
    if len(entries) != 1:
        raise ValueError(f"one kernel expected in a module, found {entries}")
    with tempfile.TemporaryDirectory() as folder:
        source, code = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        source.write_text(ptx)
        arch = f"-arch=sm_{capability[0]}{capability[1]}"
        log = _tool("ptxas", arch, "-fmad=false", "-v", "-warn-spills", "-o", code, source)
        sass = _tool("nvdisasm", "-c", code)
    return Figures(**_from_log(log), **_from_sass(_SASS.findall(sass)))


def _from_log(log: str) -> dict[str, int]:
    patterns = {
        "registers": r"Used (\d+) registers",
        "stack_bytes": r"(\d+) bytes stack frame",
        "spill_store_bytes": r"(\d+) bytes spill stores",
        "spill_load_bytes": r"(\d+) bytes spill loads",
        "shared_bytes": r"(\d+) bytes smem",  # Not said where there is none.
    }
    found = {name: re.search(pattern, log) for name, pattern in patterns.items()}
    assert all(found[name] for name in patterns if name != "shared_bytes"), log
    return {name: int(match[1]) if match else 0 for name, match in found.items()}


def _from_sass(operations: list[str]) -> dict[str, int]:
    def count(pattern: str | re.Pattern[str]) -> int:
        return sum(bool(re.match(pattern, operation)) for operation in operations)

    assert operations, "the disassembler's text holds no instruction"
    return {
        "instructions": len(operations) - count(r"NOP\b"),
        "global_loads": count(r"LDG?\b"),
        "global_stores": count(r"STG?\b"),
        "local_accesses": count(r"(?:LDL|STL)\b"),
        "shared_accesses": count(r"(?:LDS|LDSM|STS)\b"),
        "atomics": count(r"(?:ATOM[GS]?|REDG?)\b"),
        "double": count(_DOUBLE),
    }


def _tool(name: str, *arguments: str | Path) -> str:
    done = subprocess.run([TOOLS / name, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{name} refuses the kernel: {done.stderr.strip()}")
    return done.stdout + done.stderr


def table(measured: Mapping[tuple[str, Capability], Figures]) -> str:
    """Kernels by architectures, as lines of text: registers, spilled bytes, loads, stores, size."""
    columns = sorted({capability for _, capability in measured})
    heads = "".join(f"{f'sm_{major}{minor}':>8}" for major, minor in columns)
    lines = [f"{'kernel':<24}{'per thread':<14}{heads}"]
    rows: dict[str, Callable[[Figures], int]] = {
        "registers": lambda one: one.registers,
        "spilled bytes": lambda one: one.spill_store_bytes + one.spill_load_bytes,
        "loads": lambda one: one.global_loads,
        "stores": lambda one: one.global_stores,
        "instructions": lambda one: one.instructions,
    }
    for kernel in sorted({name for name, _ in measured}):
        for i, (row, value) in enumerate(rows.items()):
            found = (measured.get((kernel, capability)) for capability in columns)
            cells = "".join(f"{'-' if one is None else value(one):>8}" for one in found)
            lines.append(f"{'' if i else kernel:<24}{row:<14}{cells}")
    return "\n".join(lines) + "\n"
