"""`InferenceSession`: runs a model, in the shape of ONNX Runtime's class of that name."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np

from luthier import knobs
from luthier.errors import ArgumentError, UnsupportedError
from luthier.exported import ExportedModel
from luthier.graph import Value, lower
from luthier.graph.bundle import is_bundle
from luthier.graph.lowering.lower import BACKENDS
from luthier.kernels import _kernels
from luthier.kernels.cpu import native_target, usable_cores
from luthier.kernels.spaces import allow, default_config

if TYPE_CHECKING:
    from luthier.graph import Plan
    from luthier.graph.lowering.context import Choose, Seconds
    from luthier.kernels import Workload
    from luthier.model import Model
    from luthier.target import Target

__all__ = [
    "InferenceSession",
    "NodeArg",
    "config_chooser",
    "default_threads",
    "open_model",
    "open_records",
]

MAX_PLANS = 8
"""Plans that a session keeps; the one that was not used for longest goes first."""

_TYPE_NAMES = {"float16": "float16", "float32": "float", "float64": "double", "object": "string"}


@dataclass(frozen=True)
class NodeArg:
    """An input or output of a model.

    Attributes
    ----------
    name : str
    shape : list of int, str or None
        Symbolic dimensions are names, unknown ones None.
    type : str
        Such as ``"tensor(float)"``.
    """

    name: str
    shape: list[int | str | None]
    type: str

    @classmethod
    def of(cls, value: Value) -> NodeArg:
        dtype = str(value.dtype) if value.dtype is not None else "unknown"
        return cls(value.name, list(value.shape or ()), f"tensor({_TYPE_NAMES.get(dtype, dtype)})")


def default_threads() -> int:
    """Threads where nobody says how many: LUTHIER_NUM_THREADS, or the cores free to use."""
    return knobs.num_threads() or usable_cores()


class InferenceSession:
    """A model, ready to run.

    A plan is made when inputs of new shapes come first; `MAX_PLANS` plans are kept. Sessions may
    be used by several threads at once.

    Parameters
    ----------
    model : path, bytes or Model
        An ONNX file or its content; or a file of `luthier.export`, whose threads, target and
        configs are its own.
    num_threads : int, optional
        Threads of a run. By default LUTHIER_NUM_THREADS, or the cores that affinity and control
        groups leave to this process.
    records : path or None
        The file of tuning records; ``"default"`` is the user's own, None forgoes tuning.
    backends : sequence of str
        Any of ``"native"`` and ``"reference"``, in the order in which they are tried.
    target : Target, optional
        Choose configs as for this target, of the same architecture. By default this machine.
    max_error : float, optional
        Largest error that the algorithm of a layer may add, as a share of its output's range.
        Winograd convolutions are used where they stay below it; 0 rules them out. By default that
        of the precision, `luthier.limits.PRECISION_ERRORS`.
    precision : str
        ``"fp16"`` or ``"bf16"`` lets matrix products and convolutions round their factors so where
        the CPU has kernels for it; they still sum, read and write float32. See docs/precision.md.

    Raises
    ------
    ArgumentError
        An argument is out of its range, or the file cannot be read.
    InvalidModelError
        The file is no valid model.
    UnsupportedError
        The model has nodes that luthier does not know.

    Examples
    --------
    >>> session = InferenceSession("model.onnx", num_threads=2)                 # doctest: +SKIP
    >>> (scores,) = session.run(None, {session.get_inputs()[0].name: image})    # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | Model | ExportedModel,
        *,
        num_threads: int | None = None,
        records: str | os.PathLike[str] | None = "default",
        backends: Sequence[str] = BACKENDS,
        target: Target | None = None,
        max_error: float | None = None,
        precision: str = "fp32",
    ) -> None:
        if num_threads is not None and num_threads < 1:
            raise ArgumentError(f"num_threads must be positive, got {num_threads}")
        unknown = [b for b in backends if b not in BACKENDS]
        if unknown or not backends:
            raise ArgumentError(
                f"unknown backends {unknown}, choose from: {', '.join(BACKENDS)}"
                if unknown
                else "no backend given"
            )
        self._owns_model = isinstance(model, (str, bytes, os.PathLike))
        self.model = open_model(model)
        self.num_threads = num_threads or default_threads()
        if isinstance(self.model, ExportedModel):
            self.num_threads = self.model.bundle.threads
            if num_threads not in (None, self.num_threads) or target is not None:
                raise ArgumentError(
                    f"{self.model.path}: exported for {self.num_threads} threads, and for targets"
                    " of its own: neither can be chosen now"
                )
            if precision != "fp32":
                raise ArgumentError(f"{self.model.path}: exported with a precision of its own")
            if "native" not in backends:
                raise ArgumentError(f"{self.model.path}: exported for the native backend alone")
        self.backends = tuple(backends)
        self.target, self.max_error = allow(target or native_target(), precision, max_error)
        if self.target.arch != native_target().arch:
            raise ArgumentError(
                f"target {self.target.name} is {self.target.arch}, this machine is"
                f" {native_target().arch}"
            )
        exported = isinstance(self.model, ExportedModel)  # which has its configs already
        self._database = None if exported else open_records(records)
        self._plans: OrderedDict[Hashable, Plan] = OrderedDict()
        self._packed: WeakValueDictionary[Any, np.ndarray] = WeakValueDictionary()
        self._unsupported: UnsupportedError | None = None
        self._lock = Lock()

    def get_inputs(self) -> list[NodeArg]:
        """The inputs, in the model's order."""
        return [NodeArg.of(v) for v in self.model.graph.inputs]

    def get_outputs(self) -> list[NodeArg]:
        """The outputs, in the model's order."""
        return [NodeArg.of(v) for v in self.model.graph.outputs]

    def run(self, output_names: Sequence[str] | None, feeds: Mapping[str, Any]) -> list[np.ndarray]:
        """Run the model once.

        Parameters
        ----------
        output_names : sequence of str or None
            The outputs to return, in this order; None is all of them.
        feeds : mapping of str to array
            One array an input, of just the declared dtype and a shape that fits.

        Returns
        -------
        list of numpy.ndarray
            New arrays.

        Raises
        ------
        ArgumentError
            A name, dtype or shape does not fit the model; the message has the expected and the
            given one.
        UnsupportedError
            No backend can run some nodes with inputs of these shapes; lists all of them.
        """
        arrays = self.check_feeds(feeds)
        if output_names is None:
            return self._plan(arrays).run(list(arrays.values()))
        names = [v.name for v in self.model.graph.outputs]
        for name in output_names:
            if name not in names:
                raise ArgumentError(f"no output {name!r}; the outputs are: {', '.join(names)}")
        results = self._plan(arrays).run(list(arrays.values()))
        return [results[names.index(name)] for name in output_names]

    def plan(self, feeds: Mapping[str, Any]) -> Plan:
        """The plan that runs these feeds: what `luthier inspect` shows."""
        return self._plan(self.check_feeds(feeds))

    def check_feeds(self, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The feeds as contiguous arrays in the order of the inputs.

        Raises
        ------
        ArgumentError
            A name or dtype does not fit.
        """
        arrays = {}
        for value in self.model.graph.inputs:
            if value.name not in feeds:
                continue
            array = np.asarray(feeds[value.name], order="C")
            if value.dtype == object and array.dtype.kind == "U":
                array = array.astype(object)
            if value.dtype is not None and array.dtype != value.dtype:
                raise ArgumentError(
                    f"input {value.name!r}: expected {value.dtype}, got {array.dtype}"
                )
            arrays[value.name] = array
        names = [v.name for v in self.model.graph.inputs]
        if not feeds.keys() <= arrays.keys():
            unknown = next(name for name in feeds if name not in arrays)
            raise ArgumentError(f"no input {unknown!r}; the inputs are: {', '.join(names)}")
        if len(arrays) < len(names):
            missing = [name for name in names if name not in arrays]
            raise ArgumentError(f"missing inputs: {', '.join(missing)}")
        return arrays

    def _plan(self, arrays: dict[str, np.ndarray]) -> Plan:
        with self._lock:
            key = self.model.key(arrays)
            found = self._plans.get(key)
            if found is None:
                if self._unsupported is not None and self.model.has_one_plan:
                    raise self._unsupported
                found = self._make_plan(arrays)
                key = self.model.key(arrays)  # planning may have found that content matters
                self._plans[key] = found
            self._plans.move_to_end(key)
            if len(self._plans) > MAX_PLANS:
                self._plans.popitem(last=False)
            return found

    def _make_plan(self, arrays: dict[str, np.ndarray]) -> Plan:
        if isinstance(self.model, ExportedModel):
            return self.model.plan()
        graph = self.model.specialise(arrays)
        shapes = {name: array.shape for name, array in arrays.items()}
        choose = config_chooser(
            self._database,
            self.target,
            model=self.model.digest,
            shapes=shapes,
            threads=self.num_threads,
            max_error=self.max_error,
        )
        consume = self._owns_model and self.model.has_one_plan
        if consume:
            self.model.drop_weights()  # before they are packed: `graph` holds what the plan needs
            _kernels.trim_memory()
        try:
            return lower(
                graph,
                choose,
                self.num_threads,
                self.backends,
                self._packed,
                self.max_error,
                consume,
                recorded_times(self._database, self.target),
                self.target,
            )
        except UnsupportedError as error:
            self._unsupported = error
            raise
        finally:
            _kernels.trim_memory()


def recorded_times(database: Any, target: Target) -> Seconds | None:
    """Recorded times, for plans to tell why something was chosen; None without records."""
    if database is None:
        return None
    from luthier.tuner import timer

    return timer(database, target)


def config_chooser(
    database: Any,
    target: Target,
    *,
    model: str,
    shapes: dict[str, tuple[int, ...]],
    threads: int,
    max_error: float,
) -> Choose:
    """From a workload to its config and rung, by the records (None: there are none) and then by the
    target."""

    def untuned(workload: Workload) -> tuple[dict[str, Any], str]:
        return default_config(workload, target, max_error), "default"

    if database is None:
        return untuned
    from luthier.tuner import chooser

    recorded = chooser(
        database, target, model=model, shapes=shapes, threads=threads, max_error=max_error
    )

    def choose(workload: Workload) -> tuple[dict[str, Any], str]:
        config, rung = recorded(workload)
        return (config, rung) if config is not None else untuned(workload)

    return choose


def open_model(model: str | os.PathLike[str] | bytes | Model | ExportedModel) -> Any:
    """The Model of an ONNX file or its content, the ExportedModel of an exported one."""
    if not isinstance(model, (str, bytes, os.PathLike)):
        return model
    if not isinstance(model, bytes) and is_bundle(model):
        return ExportedModel(model)
    from luthier.model import Model  # which reads ONNX: exported files can do without

    return Model(model)


def open_records(records: str | os.PathLike[str] | None) -> Any:
    """The database of records, or None where there is nothing to look up."""
    if records is None:
        return None
    from luthier.tuner import Database

    return Database(None if records == "default" else records)
