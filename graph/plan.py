"""Plans: a flat list of kernel calls over one arena."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier import limits
from luthier.errors import ArgumentError, KernelError, UnsupportedError
from luthier.graph import _executor
from luthier.graph.ir import Graph
from luthier.graph.lowering.context import Context, Step, Storage, View
from luthier.graph.memory import Block, assign_offsets
from luthier.graph.ops.common import describe
from luthier.graph.reference import Kernel
from luthier.kernels import _kernels

__all__ = ["Code", "Plan", "PlanNode"]


@dataclass(frozen=True)
class PlanNode:
    """What one step of a plan does, for people and reports.

    Attributes
    ----------
    node, op : str
        Name and operator of the graph's node; of a chain of convolutions that is computed band by
        band all names, and ``"Chain"``.
    backend : str
        ``"native"`` or ``"reference"``.
    kernel : str
    layout : str
        ``"NHWC"`` or ``""``.
    config : dict
        Empty if the kernel has nothing to tune.
    rung : str
        Where the config comes from: ``"exact"``, ``"core"``, ``"default"``, or ``""``.
    workload : str
        The workload's key, or ``""``.
    tasks : tuple of str
        The keys of all workloads whose configs have a part in the step: its own, that of the
        chain that it belongs to, those of the members if it is a chain.
    flops : int
    activation_bytes, constant_bytes : int
        Size of the node's inputs and outputs, and of its constants. Where a node takes several
        steps, each has an equal part.
    reason : str
        Why an earlier backend was passed over, or another precision, or ``""``.
    """

    node: str
    op: str
    backend: str
    kernel: str
    layout: str
    config: dict
    rung: str
    workload: str
    tasks: tuple[str, ...]
    flops: int
    activation_bytes: int
    constant_bytes: int
    reason: str


@dataclass(frozen=True)
class Code:
    """What the steps of a plan call, as data that can leave the process.

    Attributes
    ----------
    calls : list of (str, int, str)
        Operator (empty: the reference backend), byte offset of its arguments, and what errors call
        it.
    args : bytes
        All argument structs; pointers are null.
    relocations : list of (int, int, int)
        Slot, buffer (0 the arena, then inputs, then outputs) and byte offset of every pointer to
        activations.
    constants : list of (int, ndarray, int)
        Slot, array and byte offset of every pointer to constants.
    """

    calls: list[tuple[str, int, str]]
    args: bytes
    relocations: list[tuple[int, int, int]]
    constants: list[tuple[int, np.ndarray, int]]


class Plan:
    """An executable graph for one set of input shapes.

    Safe to run from several threads at once: each run has an arena of its own.

    Attributes
    ----------
    nodes : list of PlanNode
    arena_bytes : int
        Peak memory of activations and scratch.
    weights_bytes : int
        Constants, packed weights included.
    code : Code or None
        What can be exported; None if the plan itself comes from an exported file.
    """

    code: Code | None
    _parts: list[tuple[int, int] | _ReferenceCall]

    def __init__(self, graph: Graph, context: Context) -> None:
        steps = context.steps
        self._inputs = [(v.name, v.dtype, tuple(v.shape)) for v in graph.inputs]
        self._outputs = [(tuple(v.shape), v.dtype) for v in graph.outputs]
        parts = Counter(id(s.node) for s in steps)
        self.nodes = [_describe(s, parts[id(s.node)]) for s in steps]
        self.flops = sum(n.flops for n in self.nodes)
        for step in steps:
            size = _scratch_size(step)
            if size:
                step.fields["work"] = View(Storage(size))
        self._lay_out(steps)
        self._encode(steps)
        self._idle: list[_executor.Instance] = []

    @classmethod
    def stored(
        cls,
        inputs: list[tuple[str, np.dtype, tuple[int, ...]]],
        outputs: list[tuple[tuple[int, ...], np.dtype]],
        nodes: list[PlanNode],
        program: _executor.Program,
        weights_bytes: int,
    ) -> Plan:
        """A plan of kernels alone that was made before: see `luthier.graph.bundle`."""
        plan = cls.__new__(cls)
        plan._inputs, plan._outputs, plan.nodes = inputs, outputs, nodes
        plan.flops = sum(n.flops for n in nodes)
        plan.arena_bytes, plan.weights_bytes = program.arena_bytes, weights_bytes
        plan.code, plan._program, plan._idle = None, program, []
        plan._parts = [(0, len(nodes))] if nodes else []
        return plan

    # -- building ------------------------------------------------------------------------------

    def _lay_out(self, steps: list[Step]) -> None:
        """Place every activation in the arena, and gather the constants."""
        blocks: dict[Storage, Block] = {}
        constants: dict[int, np.ndarray] = {}
        for i, step in enumerate(steps):
            for view in (*step.fields.values(), *step.reads, *step.writes):
                if not isinstance(view, View):
                    continue
                storage = view.storage
                if storage.array is not None:
                    constants[storage.array.ctypes.data] = storage.array
                elif storage.buffer == 0:
                    block = blocks.setdefault(storage, Block(storage.nbytes, i, i))
                    block.last = i
        self._constants = list(constants.values())
        self.weights_bytes = sum(array.nbytes for array in self._constants)
        self.arena_bytes = assign_offsets(list(blocks.values()))
        if self.arena_bytes > limits.MAX_ARENA_BYTES:
            raise UnsupportedError(f"activations take {self.arena_bytes} bytes, over the limit")
        for storage, block in blocks.items():
            storage.offset = block.offset

    def _encode(self, steps: list[Step]) -> None:
        """Write the C program, and list the stretches of it between calls of the reference."""
        calls: list[tuple[str, int, str]] = []
        packed: list[bytes] = []
        relocations: list[tuple[int, int, int]] = []
        constants: list[tuple[int, np.ndarray, int]] = []
        self._parts = []
        size = 0
        for i, step in enumerate(steps):
            if step.call is not None:
                self._parts.append(_ReferenceCall.of(i, step))
                calls.append(("", size, ""))
                continue
            last = self._parts[-1] if self._parts else None
            if isinstance(last, tuple):
                self._parts[-1] = (last[0], i + 1)
            else:
                self._parts.append((i, i + 1))
            layout = _kernels.OPS[step.op][1]
            numbers = {}
            for name, value in step.fields.items():
                if not isinstance(value, View):
                    numbers[name] = value
                elif value.storage.array is not None:
                    constants.append(
                        (size // 8 + layout[name][0], value.storage.array, value.offset)
                    )
                else:
                    offset = value.storage.offset + value.offset
                    relocations.append((size // 8 + layout[name][0], value.storage.buffer, offset))
            calls.append((step.op, size, f"{describe(step.node)}: {step.kernel}"))
            packed.append(_kernels.Args(step.op, numbers).pack())
            size += 8 * len(layout)
        self.code = Code(calls, b"".join(packed), relocations, constants)
        args = np.frombuffer(self.code.args, np.int64).copy()
        for slot, array, offset in constants:
            args[slot] = array.ctypes.data + offset
        entry = _kernels.entry_points()
        self._program = _executor.Program(
            [(entry[op] if op else 0, at, name) for op, at, name in calls],
            args.tobytes(),
            relocations,
            self.arena_bytes,
            len(self._inputs) + len(self._outputs),
        )

    # -- running -------------------------------------------------------------------------------

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute the outputs.

        Parameters
        ----------
        arrays : sequence of ndarray
            The inputs in order, each of its declared dtype and shape.

        Returns
        -------
        list of ndarray
            The outputs in order, newly allocated.

        Raises
        ------
        ArgumentError
            An input is missing, or of another dtype or shape.
        KernelError, InvalidModelError
            A node failed; the plan can be run again.
        """
        return self._run(arrays, None)

    def profile(self, arrays: Sequence[np.ndarray], repeats: int = 10) -> np.ndarray:
        """Seconds of each step, the median over `repeats` runs after one to warm up."""
        times = np.zeros((repeats, len(self.nodes)))
        self._run(arrays, None)
        for row in times:
            self._run(arrays, row)
        return np.median(times, axis=0)

    def _run(self, arrays: Sequence[np.ndarray], times: np.ndarray | None) -> list[np.ndarray]:
        if len(arrays) != len(self._inputs):
            raise ArgumentError(f"expected {len(self._inputs)} inputs, got {len(arrays)}")
        buffers = [_checked(x, *io) for x, io in zip(arrays, self._inputs, strict=True)]
        outputs = [np.empty(shape, dtype) for shape, dtype in self._outputs]
        buffers += outputs
        try:
            instance = self._idle.pop()
        except IndexError:
            instance = _executor.Instance(self._program)
        try:
            instance.bind(buffers)
            for part in self._parts:
                if isinstance(part, tuple):
                    instance.run(part[0], part[1], times)
                else:
                    part.run(instance.arena, buffers, times)
        finally:
            self._idle.append(instance)
        return outputs

    # -- telling -------------------------------------------------------------------------------

    def text(self, times: np.ndarray | None = None) -> str:
        """The plan as a table: a line a step with kernel, layout, config, rung and time."""
        lines = []
        for i, n in enumerate(self.nodes):
            cells = [f"{i:4}", n.op, n.node, n.kernel, n.layout, n.rung, _config_text(n)]
            if times is not None:
                cells.insert(1, f"{times[i] * 1e6:9.1f} us")
            if n.reason:
                cells.append(f"({n.reason})")
            lines.append("  ".join(c for c in cells if c))
        mib = self.arena_bytes / 2**20
        lines.append(f"arena {mib:.2f} MiB, weights {self.weights_bytes / 2**20:.2f} MiB")
        return "\n".join(lines)


def _checked(x: np.ndarray, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """`x` as kernels read it: contiguous and aligned."""
    if x.dtype != dtype or x.shape != shape:
        raise ArgumentError(
            f"input {name!r}: expected {dtype} {list(shape)}, got {x.dtype} {list(x.shape)}"
        )
    flags = x.flags
    return x if flags.c_contiguous and flags.aligned else np.require(x, requirements=["C", "A"])


@dataclass(frozen=True)
class _Place:
    """A value as an array, for the reference backend."""

    view: View
    dtype: np.dtype
    shape: tuple[int, ...]

    def array(self, arena: np.ndarray, buffers: Sequence[np.ndarray]) -> np.ndarray:
        view = self.view
        base, offset = view.storage.array, view.offset
        if base is None:
            base = buffers[view.storage.buffer - 1] if view.storage.buffer else arena
            offset += view.storage.offset
        if self.dtype.hasobject:  # strings are whole inputs, outputs and constants only
            return base.reshape(self.shape)
        strides = tuple(s * self.dtype.itemsize for s in view.strides(self.shape))
        return np.ndarray(self.shape, self.dtype, base, offset, strides)


@dataclass(frozen=True)
class _ReferenceCall:
    """A step of the reference backend."""

    step: int
    name: str
    call: Kernel
    reads: list[Any]  # _Place or None
    writes: list[Any]

    @classmethod
    def of(cls, i: int, step: Step) -> _ReferenceCall:
        assert step.call is not None

        def place(value: Any, view: View | None) -> _Place | None:
            return None if view is None else _Place(view, value.dtype, tuple(value.shape))

        reads = list(map(place, step.node.inputs, step.reads))
        writes = list(map(place, step.node.outputs, step.writes))
        return cls(i, describe(step.node), step.call, reads, writes)

    def run(
        self, arena: np.ndarray, buffers: Sequence[np.ndarray], times: np.ndarray | None
    ) -> None:
        begin = time.perf_counter()
        results = self.call([r and r.array(arena, buffers) for r in self.reads])
        if len(results) < len(self.writes):
            raise KernelError(f"{self.name}: the reference gives {len(results)} outputs")
        for place, result in zip(self.writes, results, strict=False):
            if result.shape != place.shape:
                raise KernelError(
                    f"{self.name}: the reference gives shape {list(result.shape)},"
                    f" not {list(place.shape)}"
                )
            np.copyto(place.array(arena, buffers), result, casting="unsafe")
        if times is not None:
            times[self.step] += time.perf_counter() - begin


def _scratch_size(step: Step) -> int:
    """Bytes of scratch memory that a step wants; it may depend on which operands are there."""
    if step.call is not None:
        return 0
    present = np.zeros(8, np.uint8)
    fields = {}
    for name, value in step.fields.items():
        if isinstance(value, View):
            value = present if value.storage.array is None else value.constant()
        fields[name] = value
    return _kernels.work_size(step.op, fields)


def _config_text(node: PlanNode) -> str:
    if node.op == "Chain":
        rows, count = node.config["rows"], node.kernel.count(" > ") + 1
        return f"bands of {rows} row{'s' * (rows > 1)} over {count} nodes"
    return " ".join(f"{k}={v}" for k, v in node.config.items() if k != "isa")


def _describe(step: Step, parts: int) -> PlanNode:
    def nbytes(values: Iterable[Any]) -> int:
        return sum(v.dtype.itemsize * math.prod(v.shape) for v in values) // parts

    inputs = [v for v in step.node.inputs if v is not None]
    moved = [v for v in inputs if not v.is_const] + step.node.outputs
    return PlanNode(
        node=step.node.name,
        op=step.node.op,
        backend="native" if step.call is None else "reference",
        kernel=step.kernel,
        layout="NHWC" if step.node.attrs.get("layout") == "NHWC" else "",
        config=dict(step.config or {}),
        rung=step.rung,
        workload=step.workload.key if step.workload else "",
        tasks=step.tasks,
        flops=step.workload.flops if step.workload else 0,
        activation_bytes=nbytes(moved),
        constant_bytes=nbytes(v for v in inputs if v.is_const),
        reason=step.reason,
    )
