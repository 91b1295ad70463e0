"""One workload under one config, ready to be run, checked and timed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from luthier.kernels import _kernels, fields, reference
from luthier.kernels.checks import isa_number
from luthier.kernels.noise import Noise
from luthier.kernels.precision import float_operands, float_steps
from luthier.kernels.quant_inputs import QWorkload, answer, quant_answer, quant_inputs, quant_slots
from luthier.kernels.requant import DTYPES, centred
from luthier.kernels.spaces import check_config, default_config, usual_error
from luthier.kernels.workload import (
    Chain,
    DepthwiseConv2d,
    Gemm,
    Precision,
    QGemm,
    Quantised,
    Workload,
)

__all__ = ["Check", "Runner", "call_slots", "cold_copies", "compare", "expected", "output_dtype"]

COLD_BYTES = 4 << 20
"""Weights are rotated through copies of this many bytes in all, so that timing finds them cold."""

MAX_COPIES = 16


@dataclass(frozen=True)
class Check:
    """How an output compares with the reference.

    Attributes
    ----------
    ok : bool
        Whether every element is within the rounding that the length of its sum allows; quantised
        answers are equal to the bit, those of float32 in their place within a quantum.
    max_abs, max_rel : float
        Largest absolute error, and that as a share of the output's range: what `max_error` of
        sessions and tuning bounds.
    """

    ok: bool
    max_abs: float
    max_rel: float


@dataclass(frozen=True)
class _Inputs:
    x: Noise
    w: np.ndarray
    bias: Noise | None
    residual: Noise | None


@lru_cache(maxsize=16)
def _inputs(workload: Any, seed: int) -> _Inputs:
    seeds = itertools.count(4 * seed)

    def noise(*shape: int) -> Noise:
        return Noise(shape, next(seeds))

    w = workload
    out: tuple[int, ...]
    if isinstance(w, Gemm):
        x = noise(w.batch, w.m, w.k)
        weights = noise(*([] if w.packed else [w.batch]), w.k, w.n)
        out, depth, channels = (w.batch, w.m, w.n), w.k, w.n
    else:
        x = noise(w.n, w.h, w.w, w.c)
        depthwise = isinstance(w, DepthwiseConv2d)
        channels = w.c if depthwise else w.k
        inner = 1 if depthwise else w.c // w.groups
        weights = noise(channels, inner, w.r, w.s)
        out, depth = (w.n, w.oh, w.ow, channels), inner * w.r * w.s
    bias, residual = noise(channels), noise(*out)
    scaled = weights.array / np.float32(np.sqrt(depth))
    return _Inputs(x, scaled, bias if w.bias else None, residual if w.residual else None)


@lru_cache(maxsize=8)
def expected(workload: Any, seed: int) -> np.ndarray:
    """What the NumPy reference says of the inputs made from a seed."""
    if isinstance(workload, Quantised):
        return quant_answer(workload, seed)
    if isinstance(workload, Precision):
        inputs = quant_inputs(workload.integer, seed)
        plain = replace(inputs.out, residual=None, table=None)
        return answer(workload.integer, replace(inputs, out=plain))
    if not isinstance(workload, Chain):
        i = _inputs(workload, seed)
        return _float_answer(workload, i.x.array, i)
    parts = _chain_inputs(workload, seed)
    y = parts[0].x.array
    for member, i in zip(workload.members, parts, strict=True):
        y = _float_answer(member, y, i)
    return y


def _float_answer(w: Any, x: np.ndarray, i: _Inputs) -> np.ndarray:
    """What the reference makes of `x` in place of ``i.x``."""
    bias, residual = _array(i.bias), _array(i.residual)
    epilogue: dict[str, Any] = {"act": w.activation, "params": _activation_params(w.activation)}
    if isinstance(w, Gemm):
        return reference.gemm(x, i.w, bias, residual, **epilogue)
    window = {"strides": w.strides, "pads": w.pads, "dilations": w.dilations, **epilogue}
    if isinstance(w, DepthwiseConv2d):
        return reference.depthwise_conv2d(x, i.w, bias, residual, **window)
    return reference.conv2d(x, i.w, bias, residual, groups=w.groups, **window)


def _chain_inputs(chain: Chain, seed: int) -> list[_Inputs]:
    """Inputs of each member; of x, only the first one's counts."""
    return [_inputs(member, seed + i) for i, member in enumerate(chain.members)]


def compare(workload: Any, config: Mapping, output: np.ndarray, seed: int) -> Check:
    """Compare the output of a config with the reference."""
    right = expected(workload, seed)
    error = np.abs(output - right.astype(np.float64))
    worst = float(error.max(initial=0.0))
    span = float(np.ptp(right.astype(np.float64))) if right.size else 0.0
    # Inputs have unit variance, so a sum of any length has too; fp32 sums err by a few ulps.
    bound: Any = 2e-5 + 2e-5 * np.abs(right) + 2 * usual_error(config) * span
    if isinstance(workload, Quantised):
        bound = 0
    elif isinstance(workload, Precision):  # a quantum, or sums of bytes that cancel
        bound = 1 if right.dtype.itemsize == 1 else bound + 2e-5 * span
    return Check(bool(np.all(error <= bound)), worst, worst / span if span else worst)


def call_slots(workload: Any, config: Mapping, seed: int) -> dict[str, Any]:
    """All slots of a call but for the output and scratch memory: numbers, arrays, `Noise`, None."""
    if isinstance(workload, QWorkload):
        return quant_slots(workload, quant_inputs(workload, seed), config)
    i = _inputs(workload, seed)
    plain = isinstance(workload, Gemm) and not workload.packed
    return {
        **fields.workload_fields(workload),
        **fields.epilogue_fields(workload.activation, _activation_params(workload.activation)),
        **fields.config_fields(config),
        ("a" if isinstance(workload, Gemm) else "x"): i.x,
        "w": i.w.ravel() if plain else fields.pack_weights(workload, i.w, config),
        "bias": i.bias,
        "residual": i.residual,
    }


def output_dtype(workload: Any) -> np.dtype:
    """The type of a workload's output."""
    if isinstance(workload, Precision):
        workload = workload.integer
    return np.dtype(DTYPES[workload.y] if isinstance(workload, Quantised) else np.float32)


def cold_copies(weights: np.ndarray) -> int:
    """Through how many copies of packed weights a timing walks."""
    return max(1, min(MAX_COPIES, COLD_BYTES // max(1, weights.nbytes)))


def _array(value: Any) -> Any:
    return value.array if isinstance(value, Noise) else value


def _activation_params(name: str) -> tuple[float, float]:
    """Typical parameters: ReLU6, the hard sigmoid of MobileNetV3, a slope of 0.01."""
    return {"clip": (0.0, 6.0), "hard_sigmoid": (1 / 6, 0.5), "leaky_relu": (0.01, 0.0)}.get(
        name, (0.0, 0.0)
    )


class Runner:
    """A workload bound to a config, with inputs made from a seed.

    Parameters
    ----------
    workload : Workload
    config : mapping, optional
        The untuned choice if left out.
    seed : int

    Raises
    ------
    ArgumentError
        The config is not one of this operator, or names a kernel that this CPU does not have.

    Notes
    -----
    What only the C driver can tell, such as blocks of no rows, is a KernelError of `run`.

    Examples
    --------
    >>> runner = Runner(Gemm(m=8, n=8, k=8))
    >>> runner.check().ok
    True
    """

    def __init__(self, workload: Workload, config: Mapping | None = None, seed: int = 0) -> None:
        self.workload = workload
        self.config = default_config(workload) if config is None else check_config(workload, config)
        self.seed = seed
        self._computed: Any = workload
        self._chosen = self.config
        if isinstance(workload, Precision):
            integer = self.config["precision"] == "int8"
            self._computed = workload.integer if integer else workload
            self._chosen = default_config(workload.members[not integer])
        shape = expected(self._computed, seed).shape
        self.output = self._compared = np.empty(shape, output_dtype(self._computed))
        self._steps: list[list[_kernels.Args]] = []
        if isinstance(self._computed, Precision):
            self._add_float_steps(self._computed)
        elif isinstance(workload, Chain):
            self._add("chain", self._chain_calls(), self.output)
        else:
            calls = _with_copies(call_slots(self._computed, self._chosen, seed))
            self._add(self._computed.op, calls, self.output)

    def _add(self, op: str, calls: list[dict[str, Any]], y: np.ndarray) -> None:
        """Append a step that makes `y`, with the slots of a call for each copy of the weights."""
        shared: dict[str, Any] = {"y": y}
        size = _kernels.work_size(op, calls[0])
        if size:
            shared["work"] = _kernels.aligned_bytes(size)
        self._steps.append([_kernels.Args(op, call | shared) for call in calls])

    def _add_float_steps(self, workload: Precision) -> None:
        """Conversion, product of float32, conversion, sum and table."""
        q, real = workload.integer, workload.real
        i = quant_inputs(q, self.seed)
        slots = {**call_slots(q, default_config(q), self.seed), "y": self.output}
        rooms: list[np.ndarray] = []

        def room(size: int) -> np.ndarray:
            rooms.append(_kernels.aligned_bytes(size))
            return rooms[-1]

        before, ends, after = float_steps(q, slots, room)
        common = {"isa": isa_number(None), "threads": workload.threads}
        for op, conversion in before:
            self._add(op, [common | conversion], conversion["y"])
        weights = centred(i.w, i.w_zero, -1 if isinstance(q, QGemm) else 0)
        bias = i.out.fbias if q.y == "f32" else i.bias
        w, bias = float_operands(q, weights, i.out.scale, bias)
        product = {
            **fields.workload_fields(real),
            **fields.config_fields(self._chosen),
            **{"w": fields.pack_weights(real, w, self._chosen), "bias": bias, **ends},
        }
        self._add(real.op, _with_copies(product), ends["y"])
        for op, step in after:
            self._add(op, [common | step], step["y"])
        if after:
            made = after[0][1]["y"]
            self._compared = made.view(self.output.dtype)[: self.output.size].reshape(
                self.output.shape
            )

    def _chain_calls(self) -> list[dict[str, Any]]:
        """The same for a chain, whose members have the configs of `lower`."""
        chain: Any = self.workload
        inputs = _chain_inputs(chain, self.seed)
        alone = {"threads": 1} if self.config["rows"] else {}
        self._stages = []  # keeps alive what the slot `stages` points to
        for i, member in enumerate(chain.members):
            config = default_config(member, max_error=0.0) | alone
            slots = call_slots(member, config, self.seed + i)
            self._stages.append(_with_copies({**slots, "x": None, "residual": None}))
        calls = []
        for copy in range(max(map(len, self._stages))):
            stages = zip(
                (member.op for member in chain.members),
                (copies[copy % len(copies)] for copies in self._stages),
                strict=True,
            )
            ends = {"x": inputs[0].x.array, "residual": _array(inputs[-1].residual)}
            numbers = {"count": len(inputs), "threads": chain.threads, **self.config}
            calls.append({**ends, **numbers, "stages": fields.stage_array(stages)})
        return calls

    def run(self) -> np.ndarray:
        """Compute once; the array returned is overwritten by the next run."""
        for step in self._steps:
            step[0].run()
        return self.output

    def check(self) -> Check:
        """Run, and compare with the NumPy reference."""
        self._compared.view(np.uint8).fill(0xFF)  # NaN
        self.run()
        return compare(self._computed, self._chosen, self._compared, self.seed)

    def time(self, inner: int) -> float:
        """Seconds per call over `inner` calls in C, walking round copies of the weights."""
        return sum(step[0].time(inner, step[1:]) for step in self._steps)


def _with_copies(slots: dict[str, Any]) -> list[dict[str, Any]]:
    """The slots with different copies of the weights."""
    arrays = {name: _array(value) for name, value in slots.items()}
    weights = arrays["w"]
    return [{**arrays, "w": _aligned(weights)} for _ in range(cold_copies(weights))]


def _aligned(array: np.ndarray) -> np.ndarray:
    """A copy that starts on a cache line."""
    room = _kernels.aligned_bytes(array.nbytes).view(array.dtype).reshape(array.shape)
    room[...] = array
    return room
