"""What lowering rules share: where values live, and the steps emitted so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from luthier import limits
from luthier.digest import blake2b
from luthier.errors import ArgumentError
from luthier.graph.ir import Node, Value
from luthier.graph.reference import Kernel
from luthier.kernels import _kernels, fields
from luthier.kernels.cpu import native_target
from luthier.kernels.loops import dense_strides, loop_slots
from luthier.kernels.spaces import default_config, is_legal, usual_error
from luthier.kernels.workload import Workload
from luthier.target import Target

__all__ = ["DTYPES", "SHORT", "Context", "NotNative", "Step", "Storage", "View", "content"]

SHORT = {
    "float32": "f32",
    "int16": "s16",
    "int32": "s32",
    "int8": "s8",
    "uint16": "u16",
    "uint8": "u8",
}
"""Dtypes as in the names of kernels and workloads."""

DTYPES = {
    "float32": 0,
    "float16": 1,
    "float64": 2,
    "int8": 3,
    "uint8": 4,
    "int16": 5,
    "uint16": 6,
    "int32": 7,
    "int64": 8,
    "bool": 9,
}
"""Dtype -> ``enum lt_dtype``."""

Choose = Callable[[Workload], tuple[Mapping[str, Any] | None, str]]

Seconds = Callable[[Workload, Mapping[str, Any]], float | None]
"""Recorded time of a workload under a config."""


class NotNative(Exception):
    """The native backend cannot run a node; the message is the reason."""


@dataclass(eq=False, slots=True)
class Storage:
    """Memory: a piece of the arena (`buffer` 0, at `offset` once the plan is laid out), a graph
    input or output (`buffer` 1...), or a constant (`array`)."""

    nbytes: int
    buffer: int = 0
    array: np.ndarray | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """Where a value starts, and the distance in elements between its rows (of the last axis);
    0 for a dense value."""

    storage: Storage
    offset: int = 0
    ld: int = 0

    def at(self, nbytes: int) -> View:
        """The same, `nbytes` further on."""
        return View(self.storage, self.offset + nbytes, self.ld)

    def constant(self) -> np.ndarray:
        """The bytes of a constant from here on."""
        if self.storage.array is None:
            raise TypeError("not a constant")
        return self.storage.array.reshape(-1).view(np.uint8)[self.offset :]

    def strides(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Strides in elements of a value of `shape` that lives here."""
        if not self.ld:
            return dense_strides(shape)
        return (*(s * self.ld for s in dense_strides(shape[:-1])), 1)


@dataclass(slots=True)
class Step:
    """One call of a C operator, or of the reference backend (`call` set).

    `tasks` are the keys of the workloads whose configs have a part in it.
    """

    node: Node
    op: str
    fields: dict[str, Any] = field(default_factory=dict)
    kernel: str = ""
    config: Mapping[str, Any] | None = None
    rung: str = ""
    workload: Workload | None = None
    tasks: tuple[str, ...] = ()
    call: Kernel | None = None
    reads: list[View | None] = field(default_factory=list)
    writes: list[View] = field(default_factory=list)
    reason: str = ""


class Context:
    """State of one lowering.

    Parameters
    ----------
    choose : callable
        From a workload to (config or None, rung).
    num_threads : int
    packed : mutable mapping or None
        Packed weights by content and layout, which plans of one model share. None packs nothing,
        for callers that only want the steps.
    max_error : float
        Of untuned configs, as `luthier.kernels.default_config` takes it.
    seconds : callable, optional
        Recorded times, to tell why something was chosen.
    target : Target, optional
        What the steps are for; this machine if left out.
    """

    def __init__(
        self,
        choose: Choose,
        num_threads: int,
        packed: MutableMapping | None,
        max_error: float = limits.MAX_ERROR,
        seconds: Seconds | None = None,
        target: Target | None = None,
    ) -> None:
        self.choose = choose
        self.seconds = seconds or (lambda workload, config: None)
        self.num_threads = num_threads
        self.steps: list[Step] = []
        self.views: dict[Value, View] = {}
        self.sliceable: set[Value] = set()  # all their readers take a distance between rows
        self.packed = packed
        self.max_error = max_error
        self.tunable: list[tuple[str, Workload]] = []
        self.chains: dict[Node, Workload] = {}
        """The chain that a node is a member of."""
        self.target = target or native_target()
        self.isa = _kernels.ISA_NAMES.index(self.target.isa)

    # -- values --------------------------------------------------------------------------------

    def view(self, value: Value) -> View:
        """Where `value` lives; made at first use."""
        if value not in self.views:
            if value.data is not None:
                array = np.ascontiguousarray(value.data)
                self.views[value] = View(Storage(array.nbytes, array=array))
            else:
                self.views[value] = self.temporary(nbytes(value))
        return self.views[value]

    def dense(self, value: Value) -> View:
        """Where `value` lives, for an operator that wants it dense."""
        view = self.view(value)
        if view.ld:
            raise NotNative(f"{value.name} is not dense")
        return view

    def ld(self, value: Value) -> int:
        """Distance between the pixels of an NHWC value."""
        return self.view(value).ld or value.shape[-1]

    def temporary(self, size: int) -> View:
        require(size <= limits.MAX_TENSOR_BYTES, f"needs {size} bytes at once, over the limit")
        return View(Storage(size))

    def constant(self, array: np.ndarray) -> View:
        """A constant made by lowering."""
        array = np.ascontiguousarray(array)
        return View(Storage(array.nbytes, array=array))

    def alias(self, new: Value, old: Value) -> None:
        """Let `new` be another name of the bytes of `old`."""
        source = self.dense(old)
        if self.views.setdefault(new, source) != source:
            # The place of `new` is fixed: a graph output, or a part of a concatenation.
            self.copy_bytes(new.producer, old, self.dense(new))

    def copy_bytes(self, node: Node, value: Value, to: View) -> None:
        """Copy a dense value of any dtype."""
        slots = nest((nbytes(value),), {"x": (1,), "y": (1,)})
        self.emit(node, "copy", x=self.dense(value), y=to, size=1, **slots)

    # -- steps ---------------------------------------------------------------------------------

    def emit(
        self,
        node: Node,
        op: str,
        dtype: np.dtype | None = None,
        /,
        threads: int | None = None,
        **slots: Any,
    ) -> Step:
        """Append a call of C operator `op`; a slot is a number, a View, an array or None.

        `dtype`, float32 by default, is that of the elements in the kernel's name.
        """
        layout = _kernels.OPS[op][1]
        require(slots.get("size", 1) in (1, 2, 4, 8), "elements of an odd size")
        if "isa" in layout:
            slots.setdefault("isa", self.isa)
        if "threads" in layout:
            slots.setdefault("threads", threads or self.num_threads)
        unknown = set(slots) - set(layout)
        if unknown:
            raise KeyError(f"{op} has no argument {sorted(unknown)}")
        kind = "f32" if dtype is None else SHORT.get(dtype.name, dtype.name)
        kernel = f"{op}_{kind}_{_kernels.ISA_NAMES[slots.get('isa', 0)]}"
        step = Step(node, op, slots, kernel=kernel)
        self.steps.append(step)
        return step

    def emit_tuned(
        self, node: Node, workload: Workload, weights: Value | None, **slots: Any
    ) -> Step:
        """Append a call of a tunable operator, with the config that is chosen.

        `weights`, if given, is a constant to be packed; the argument slot is ``w``.
        """
        config, rung = self.configure(node.name, workload)
        if weights is not None:
            slots["w"] = self.pack(workload, weights, config)
        slots = {**fields.workload_fields(workload), **fields.config_fields(config), **slots}
        step = self.emit(node, workload.op, **slots)
        step.kernel = fields.kernel_name(workload, config)
        step.config, step.rung, step.workload = config, rung, workload
        chain = self.chains.get(node)
        step.tasks = (workload.key, chain.key) if chain else (workload.key,)
        return step

    def configure(self, name: str, workload: Workload) -> tuple[Mapping[str, Any], str]:
        """The config that `choose` gives, and its rung; `name` is the node's.

        A config from a record may be anything that somebody wrote: one that is not legal here
        gives way to the untuned one.
        """
        self.tunable.append((name, workload))
        config, rung = self.choose(workload)
        legal = config is not None and (
            rung == "default" or is_legal(config, workload, self.target)
        )
        if config is None or not legal or (self.max_error == 0 and usual_error(config)):
            config = default_config(workload, self.target, self.max_error)
            rung = "default"
        return config, rung

    @contextmanager
    def exact(self) -> Iterator[None]:
        """Within this, no algorithm is chosen that adds to the rounding of float32 sums."""
        allowed, self.max_error = self.max_error, 0.0
        try:
            yield
        finally:
            self.max_error = allowed

    def pack(self, workload: Workload, weights: Value, config: Mapping) -> View:
        """Constant weights in the form that the kernel of `config` reads."""
        if self.packed is None:
            return View(Storage(0))
        data = np.ascontiguousarray(weights.data)
        key = (*content(data), *fields.packing_key(workload, config))
        return self.keep(key, lambda: fields.pack_weights(workload, data, config))

    def keep(self, key: tuple, make: Callable[[], np.ndarray]) -> View:
        """What `make` makes of constants for a kernel, once for all plans of a model; `key` says
        of what, and how."""
        if self.packed is None:
            return View(Storage(0))
        room = self.packed.get(key)
        if room is None:
            array = make()
            room = _kernels.aligned_bytes(array.nbytes).view(array.dtype)
            room[...] = array.reshape(-1)
            self.packed[key] = room
        return View(Storage(room.nbytes, array=room))


def content(data: np.ndarray) -> tuple:
    """What tells a contiguous array from others."""
    return blake2b(data.data, digest_size=16).digest(), data.shape


def nbytes(value: Value) -> int:
    """Size of a value whose shape is known."""
    return math.prod(value.shape) * value.dtype.itemsize


def nest(shape: tuple[int, ...], strides: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """The slots of `luthier.kernels.loops.loop_slots`; NotNative where the loops are too many."""
    try:
        return loop_slots(shape, strides)
    except ArgumentError as error:
        raise NotNative(str(error)) from None


def require(condition: bool, reason: str) -> None:
    """Raise NotNative unless `condition`."""
    if not condition:
        raise NotNative(reason)


def is_f32(*values: Value | None) -> bool:
    """Whether all values present are float32."""
    return all(v is None or v.dtype == np.float32 for v in values)
