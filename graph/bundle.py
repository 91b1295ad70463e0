"""Exported plans: one file with plans of a model for one or several CPUs.

`write_bundle` writes what ``csrc/bundle.c`` reads, maps and checks; docs/deployment.md describes
the format.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from luthier.digest import blake2b
from luthier.errors import ArgumentError, InvalidModelError, UnsupportedError
from luthier.graph import _executor
from luthier.graph.ir import Value
from luthier.graph.lowering.context import DTYPES
from luthier.graph.plan import Plan, PlanNode
from luthier.kernels import _kernels
from luthier.kernels.cpu import isas, native_target
from luthier.target import Target

__all__ = ["Bundle", "Entry", "calls", "is_bundle", "used_isas", "write_bundle"]

MAGIC = b"luthier\0"
HEADER = 8 + 8 + 8 + 16 + 32
"""Bytes in front of what the hash covers: magic, version, size, hash of the kernels, SHA-256."""
NUMBERS = 10
"""Numbers that follow the hash: ``file_header`` of bundle.c from ``name`` on."""
WEIGHTS = -1
ALIGNMENT = 64
MAX_RANK = 8


@dataclass(frozen=True)
class Entry:
    """One plan of a file, and the CPU that it is for."""

    target: Target
    threads: int
    plan: Plan


def is_bundle(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as exported ones do; False for one that cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


# -- writing ---------------------------------------------------------------------------------------


def write_bundle(
    path: str | os.PathLike[str],
    name: str,
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    entries: Sequence[Entry],
) -> None:
    """Write plans of one model, for the same inputs.

    Parameters
    ----------
    path : path
    name : str
        The model's.
    inputs, outputs : sequence of Value
        Of static shapes.
    entries : sequence of Entry
        In the order of preference.

    Raises
    ------
    UnsupportedError
        A plan has steps on the reference backend, or tensors of a type that files cannot hold; all
        of the steps are listed.
    ArgumentError
        The file cannot be written.
    """
    slow = {
        f"{n.op} {n.node!r}: {n.reason}"
        for entry in entries
        for n in entry.plan.nodes
        if n.backend != "native"
    }
    if slow:
        raise UnsupportedError(f"{len(slow)} nodes have no kernel: " + " | ".join(sorted(slow)))
    content = _Content()
    tensors = []
    for value in (*inputs, *outputs):
        if value.dtype.name not in DTYPES or len(value.shape) > MAX_RANK:
            raise UnsupportedError(f"{value.name!r}: a tensor of {value.dtype} {value.shape}")
        dims = [*value.shape, *[0] * MAX_RANK][:MAX_RANK]
        size = int(np.prod(value.shape, dtype=np.int64)) * value.dtype.itemsize
        kind = DTYPES[value.dtype.name]
        tensors += [content.string(value.name), kind, len(value.shape), *dims, size]
    plans = [number for entry in entries for number in content.plan(entry)]
    tensors_at, plans_at = content.add(tensors), content.add(plans)
    title = content.string(name)
    strings = content.strings.ljust(-(-len(content.strings) // 8) * 8, b"\0")
    strings_at = content.append(strings)
    weights = b"".join(content.weights) + bytes(ALIGNMENT)
    content.append(bytes(-content.end % ALIGNMENT))
    weights_at = content.append(weights)
    numbers = [title, strings_at, len(strings), len(inputs), len(outputs), tensors_at]
    numbers += [len(entries), plans_at, weights_at, len(weights)]
    import hashlib  # with OpenSSL, of which readers have no need

    body = b"".join([np.array(numbers, "<i8").tobytes(), *content.parts])
    head = [MAGIC, np.array([_executor.BUNDLE_VERSION, HEADER + len(body)], "<i8").tobytes()]
    head += [_kernels.SOURCES.encode().ljust(16, b"\0"), hashlib.sha256(body).digest()]
    _replace(Path(path), b"".join([*head, body]))


def _replace(path: Path, data: bytes) -> None:
    """Write a file that every plan can be read from; who has mapped an older one keeps that."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            new.write_bytes(data)
            everything = _isa_bits(_kernels.ISA_NAMES)
            file = _executor.Bundle(os.fsencode(new), *_host(everything))
            for plan in range(len(file.plans)):
                file.program(plan)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise ArgumentError(f"{path}: {error.strerror}") from None


def _host(isas: int) -> tuple[tuple[int, int, int], int, bytes]:
    """What `_executor.Bundle` wants to know of the kernels."""
    return _kernels.op_table(), isas, _kernels.SOURCES.encode()


class _Content:
    """What follows the header; strings and weights are gathered, and written last."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.end = HEADER + 8 * NUMBERS
        self.strings = b""
        self.weights: list[bytes] = []
        self._weights_end = 0
        self._known: dict[bytes, int] = {}  # hash of an array -> where it is among the weights

    def string(self, text: str) -> int:
        at = len(self.strings)
        self.strings += text.encode().replace(b"\0", b"?") + b"\0"
        return at

    def append(self, data: bytes) -> int:
        at = self.end
        self.parts.append(data)
        self.end += len(data)
        return at

    def add(self, numbers: Sequence[int]) -> int:
        return self.append(np.array(numbers, "<i8").tobytes())

    def weight(self, array: np.ndarray) -> int:
        """Where the bytes of `array` are; equal ones are kept once."""
        data = np.ascontiguousarray(array).tobytes()
        key = blake2b(data, digest_size=16).digest()
        if key not in self._known:
            self._known[key] = self._weights_end
            padded = data.ljust(-(-len(data) // ALIGNMENT) * ALIGNMENT, b"\0")
            self.weights.append(padded)
            self._weights_end += len(padded)
        return self._known[key]

    def plan(self, entry: Entry) -> list[int]:
        """The numbers of ``file_plan``."""
        code = entry.plan.code
        assert code is not None
        places = {id(array): self.weight(array) for _, array, _ in code.constants}
        relocations = [*code.relocations]
        relocations += [
            (slot, WEIGHTS, places[id(a)] + offset) for slot, a, offset in code.constants
        ]
        steps = [(_kernels.OPS[op][0], at, self.string(name)) for op, at, name in code.calls]
        notes = json.dumps([asdict(node) for node in entry.plan.nodes])
        texts = [self.string(t) for t in (entry.target.name, entry.target.fingerprint, notes)]
        return [
            *texts,
            _isa_bits(used_isas(entry.plan)),
            entry.threads,
            entry.plan.arena_bytes,
            *(len(steps), self.add([n for step in steps for n in step])),
            *(self.append(code.args), len(code.args)),
            *(len(relocations), self.add([n for relocation in relocations for n in relocation])),
        ]


def calls(plan: Plan) -> Iterator[tuple[str, dict[str, int]]]:
    """The C operators that a plan calls, each with its integers."""
    code = plan.code
    assert code is not None
    slots = np.frombuffer(code.args, np.int64)
    for op, at, _ in code.calls:
        layout = _kernels.OPS[op][1] if op else {}
        yield op, {n: int(slots[at // 8 + i]) for n, (i, kind) in layout.items() if kind == "I"}


def used_isas(plan: Plan) -> set[str]:
    """The instruction sets that a plan's kernels need."""
    named = {_kernels.ISA_NAMES[args["isa"]] for _, args in calls(plan) if "isa" in args}
    return {"scalar", *named, *map(_kernels.base_isa, named)}


def _isa_bits(names: Iterable[str]) -> int:
    return sum(1 << _kernels.ISA_NAMES.index(name) for name in names)


# -- reading ---------------------------------------------------------------------------------------


class Bundle:
    """A file of `write_bundle`, mapped and checked.

    Attributes
    ----------
    name : str
        The model's.
    inputs, outputs : list of Value
    targets : list of str
        Names of the CPUs that the plans are for.
    chosen : int
        Which plan suits this machine best: the one made for just it, or else the first one whose
        instruction sets it has.
    threads : int
        That the chosen plan is made for.

    Raises
    ------
    ArgumentError
        The file cannot be read.
    InvalidModelError
        It is damaged, or was made for other kernels.
    UnsupportedError
        None of its plans suits this CPU.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        mine = native_target()
        self._file = _executor.Bundle(os.fsencode(path), *_host(_isa_bits(_usable_isas())))
        self.name = self._file.name
        names = list(DTYPES)
        self.inputs, self.outputs = (
            [Value(name, np.dtype(names[kind]), shape) for name, kind, shape in tensors]
            for tensors in self._file.tensors
        )
        plans = self._file.plans
        self.targets = [target for target, *_ in plans]
        self.chosen = self._file.choose(mine.fingerprint.encode())
        if self.chosen < 0:
            raise UnsupportedError(
                f"{os.fspath(path)}: no plan suits this CPU ({', '.join(mine.isas)}); it has plans"
                f" for: {', '.join(self.targets)}"
            )
        *_, self._notes, _, self.threads = plans[self.chosen]
        self._path = os.fspath(path)

    def plan(self) -> Plan:
        """The chosen plan.

        Raises
        ------
        InvalidModelError
            It is not what a plan should be.
        """
        program = self._file.program(self.chosen)
        inputs = [(v.name, v.dtype, v.shape) for v in self.inputs]
        outputs = [(v.shape, v.dtype) for v in self.outputs]
        nodes = self._nodes()
        if len(nodes) != program.step_count:
            raise InvalidModelError(f"{self._path}: there are not as many notes as steps")
        return Plan.stored(inputs, outputs, nodes, program, self._file.weights_bytes)

    def _nodes(self) -> list[PlanNode]:
        try:
            return [_node(note) for note in json.loads(self._notes)]
        except (TypeError, ValueError, LookupError, RecursionError) as error:
            raise InvalidModelError(f"{self._path}: notes on the steps: {error}") from None


def _node(note: dict[str, Any]) -> PlanNode:
    node = PlanNode(**{**note, "tasks": tuple(note["tasks"])})
    for field in fields(PlanNode):
        value = getattr(node, field.name)
        if field.name != "tasks" and type(value).__name__ != field.type:
            raise TypeError(f"{field.name} is {value!r}")
    return node


def _usable_isas() -> Iterable[str]:
    """Those that may be used here."""
    allowed = isas()
    every = (*_kernels.cpu_int8_isas(), *_kernels.cpu_half_isas())
    return (n for n in every if _kernels.base_isa(n) in allowed)
