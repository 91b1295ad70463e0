"""Plans: a flat list of kernel calls over one arena."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from luthier import limits
from luthier.errors import ArgumentError, UnsupportedError
from luthier.graph import _executor
from luthier.graph.ir import Graph
from luthier.graph.lowering.context import Context, Step, Storage, View
from luthier.graph.memory import Block, assign_offsets
from luthier.kernels import _kernels

__all__ = ["Plan", "PlanNode"]


@dataclass(frozen=True)
class PlanNode:
    """What one step of a plan does, for people and reports.

    Attributes
    ----------
    node, op : str
        Name and operator of the graph's node.
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
    flops : int
    reason : str
        Why an earlier backend was passed over, or ``""``.
    """

    node: str
    op: str
    backend: str
    kernel: str
    layout: str
    config: dict
    rung: str
    workload: str
    flops: int
    reason: str


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
    """

    def __init__(self, graph: Graph, context: Context) -> None:
        steps = context.steps
        self._inputs = [(v.name, v.dtype, tuple(v.shape)) for v in graph.inputs]
        self._outputs = [(v.dtype, tuple(v.shape)) for v in graph.outputs]
        self.nodes = [_describe(s) for s in steps]
        self.flops = sum(n.flops for n in self.nodes)
        self._assemble(steps)
        self._idle: list[_executor.Instance] = []

    # -- building ------------------------------------------------------------------------------

    def _assemble(self, steps: list[Step]) -> None:
        work = [self._scratch(s) for s in steps]
        blocks: dict[Storage, Block] = {}
        constants: dict[int, int] = {}
        for i, step in enumerate(steps):
            for view in (*step.fields.values(), *step.reads, *step.writes, work[i]):
                if not isinstance(view, View):
                    continue
                storage = view.storage
                if storage.array is not None:
                    constants[storage.array.ctypes.data] = storage.nbytes
                elif storage.buffer == 0:
                    block = blocks.setdefault(storage, Block(storage.nbytes, i, i))
                    block.last = i
        self.weights_bytes = sum(constants.values())
        self.arena_bytes = assign_offsets(list(blocks.values()))
        if self.arena_bytes > limits.MAX_ARENA_BYTES:
            raise UnsupportedError(f"activations take {self.arena_bytes} bytes, over the limit")

        entry = _kernels.entry_points()
        calls, packed, relocations = [], [], []
        self._kept: list = []
        self._segments: list[tuple[int, int] | tuple[int, Step, list, list]] = []
        size = 0

        def place(view: View) -> tuple[int, int]:
            storage = view.storage
            if storage.buffer:
                return storage.buffer, view.offset
            return 0, blocks[storage].offset + view.offset

        for i, step in enumerate(steps):
            if step.call is not None:
                reads = [
                    v and _Place(r, place, v.dtype, v.shape)
                    for v, r in zip(step.node.inputs, step.reads, strict=True)
                ]
                writes = [
                    _Place(w, place, v.dtype, v.shape)
                    for v, w in zip(step.node.outputs, step.writes, strict=True)
                ]
                self._segments.append((i, step, reads, writes))
                calls.append((0, size))
                continue
            if self._segments and len(self._segments[-1]) == 2:
                self._segments[-1] = (self._segments[-1][0], i + 1)
            else:
                self._segments.append((i, i + 1))
            layout = _kernels.OPS[step.op][1]
            slots = dict(step.fields)
            if work[i] is not None:
                slots["work"] = work[i]
            numbers = {}
            for name, value in slots.items():
                if not isinstance(value, View):
                    numbers[name] = value
                elif value.storage.array is not None:
                    flat = value.storage.array.reshape(-1).view(np.uint8)
                    numbers[name] = flat[value.offset :]
                else:
                    buffer, offset = place(value)
                    relocations.append((size // 8 + layout[name][0], buffer, offset))
            args = _kernels.Args(step.op, numbers)
            self._kept.append(args)
            calls.append((entry[step.op], size))
            packed.append(args.pack())
            size += 8 * len(layout)
        count = len(self._inputs) + len(self._outputs)
        blob = b"".join(packed)
        self._program = _executor.Program(calls, blob, relocations, self.arena_bytes, count)

    @staticmethod
    def _scratch(step: Step) -> View | None:
        """Scratch memory that a step wants."""
        if step.call is not None:
            return None
        numbers = {k: v for k, v in step.fields.items() if isinstance(v, int | float)}
        size = _kernels.work_size(step.op, numbers)
        return View(Storage(size)) if size else None

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
        inputs = [self._checked(x, *io) for x, io in zip(arrays, self._inputs, strict=True)]
        outputs = [np.empty(shape, dtype) for dtype, shape in self._outputs]
        try:
            instance = self._idle.pop()
        except IndexError:
            instance = _executor.Instance(self._program)
        buffers = [*inputs, *outputs]
        instance.bind([b.ctypes.data for b in buffers])
        for segment in self._segments:
            if len(segment) == 2:
                instance.run(*segment, times)
                continue
            i, step, reads, writes = segment
            begin = time.perf_counter()
            results = step.call([r and r.array(instance.arena, buffers) for r in reads])
            for target, result in zip(writes, results, strict=True):
                target.array(instance.arena, buffers)[...] = result
            if times is not None:
                times[i] += time.perf_counter() - begin
        self._idle.append(instance)
        return outputs

    @staticmethod
    def _checked(x: np.ndarray, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        if x.dtype != dtype or x.shape != shape:
            raise ArgumentError(
                f"input {name!r}: expected {dtype} {list(shape)}, got {x.dtype} {list(x.shape)}"
            )
        return np.ascontiguousarray(x)

    # -- telling -------------------------------------------------------------------------------

    def text(self, times: np.ndarray | None = None) -> str:
        """The plan as a table: a line a step with kernel, layout, config, rung and time."""
        lines = []
        for i, n in enumerate(self.nodes):
            config = " ".join(f"{k}={v}" for k, v in n.config.items() if k != "isa")
            cells = [f"{i:4}", n.op, n.node, n.kernel, n.layout, n.rung, config]
            if times is not None:
                cells.insert(1, f"{times[i] * 1e6:9.1f} us")
            if n.backend == "reference":
                cells.append(f"({n.reason})")
            lines.append("  ".join(c for c in cells if c))
        mib = self.arena_bytes / 2**20
        lines.append(f"arena {mib:.2f} MiB, weights {self.weights_bytes / 2**20:.2f} MiB")
        return "\n".join(lines)


class _Place:
    """A value as an array, for the reference backend."""

    def __init__(
        self,
        view: View,
        place: Callable[[View], tuple[int, int]],
        dtype: np.dtype,
        shape: tuple[int, ...],
    ) -> None:
        self.dtype, self.shape = dtype, shape
        self.constant = view.storage.array
        if self.constant is None:
            self.buffer, self.offset = place(view)

    def array(self, arena: np.ndarray, buffers: Sequence[np.ndarray]) -> np.ndarray:
        if self.constant is not None:
            return self.constant.reshape(self.shape)
        base = buffers[self.buffer - 1].reshape(-1).view(np.uint8) if self.buffer else arena
        size = math.prod(self.shape) * self.dtype.itemsize
        return base[self.offset : self.offset + size].view(self.dtype).reshape(self.shape)


def _describe(step: Step) -> PlanNode:
    return PlanNode(
        node=step.node.name,
        op=step.node.op,
        backend="native" if step.call is None else "reference",
        kernel=step.kernel,
        layout=step.node.attrs.get("layout", ""),
        config=dict(step.config or {}),
        rung=step.rung,
        workload=step.workload.key if step.workload else "",
        flops=step.workload.flops if step.workload else 0,
        reason=step.reason,
    )
