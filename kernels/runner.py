"""One workload under one config, ready to be run, checked and timed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from luthier.kernels import _kernels, fields, reference
from luthier.kernels.quant_inputs import quant_answer, quant_inputs, quant_slots
from luthier.kernels.requant import DTYPES
from luthier.kernels.spaces import check_config, default_config, usual_error
from luthier.kernels.workload import Chain, DepthwiseConv2d, Gemm, Quantised, Workload

__all__ = ["Check", "Runner"]

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
        answers are equal to the bit.
    max_abs, max_rel : float
        Largest absolute error, and that as a share of the output's range: what `max_error` of
        sessions and tuning bounds.
    """

    ok: bool
    max_abs: float
    max_rel: float


@dataclass(frozen=True)
class _Inputs:
    x: np.ndarray
    w: np.ndarray
    bias: np.ndarray | None
    residual: np.ndarray | None


@lru_cache(maxsize=16)
def _inputs(workload: Any, seed: int) -> _Inputs:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, np.float32)

    w = workload
    out: tuple[int, ...]
    if isinstance(w, Gemm):
        x = normal(w.batch, w.m, w.k)
        weights = normal(*([] if w.packed else [w.batch]), w.k, w.n)
        out, depth, channels = (w.batch, w.m, w.n), w.k, w.n
    else:
        x = normal(w.n, w.h, w.w, w.c)
        depthwise = isinstance(w, DepthwiseConv2d)
        channels = w.c if depthwise else w.k
        inner = 1 if depthwise else w.c // w.groups
        weights = normal(channels, inner, w.r, w.s)
        out, depth = (w.n, w.oh, w.ow, channels), inner * w.r * w.s
    weights /= np.float32(np.sqrt(depth))
    bias = normal(channels) if w.bias else None
    return _Inputs(x, weights, bias, normal(*out) if w.residual else None)


@lru_cache(maxsize=8)
def _reference(workload: Any, seed: int) -> np.ndarray:
    if isinstance(workload, Quantised):
        return quant_answer(workload, seed)
    if not isinstance(workload, Chain):
        i = _inputs(workload, seed)
        return _float_answer(workload, i.x, i)
    parts = _chain_inputs(workload, seed)
    y = parts[0].x
    for member, i in zip(workload.members, parts, strict=True):
        y = _float_answer(member, y, i)
    return y


def _float_answer(w: Any, x: np.ndarray, i: _Inputs) -> np.ndarray:
    """What the reference makes of `x` in place of ``i.x``."""
    epilogue: dict[str, Any] = {"act": w.activation, "params": _activation_params(w.activation)}
    if isinstance(w, Gemm):
        return reference.gemm(x, i.w, i.bias, i.residual, **epilogue)
    window = {"strides": w.strides, "pads": w.pads, "dilations": w.dilations, **epilogue}
    if isinstance(w, DepthwiseConv2d):
        return reference.depthwise_conv2d(x, i.w, i.bias, i.residual, **window)
    return reference.conv2d(x, i.w, i.bias, i.residual, groups=w.groups, **window)


def _chain_inputs(chain: Chain, seed: int) -> list[_Inputs]:
    """Inputs of each member; of x, only the first one's counts."""
    return [_inputs(member, seed + i) for i, member in enumerate(chain.members)]


def _slots(workload: Any, config: Mapping, seed: int) -> dict[str, Any]:
    """All slots of a call but for the output and scratch memory."""
    if isinstance(workload, Quantised):
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
        calls = self._chain_calls() if isinstance(workload, Chain) else self._calls()
        dtype = DTYPES[workload.y] if isinstance(workload, Quantised) else np.float32
        self.output = np.empty(_reference(workload, seed).shape, dtype)
        shared: dict[str, Any] = {"y": self.output}
        size = _kernels.work_size(workload.op, calls[0])
        if size:
            shared["work"] = _kernels.aligned_bytes(size)
        self._args = [_kernels.Args(workload.op, call | shared) for call in calls]

    def _calls(self) -> list[dict[str, Any]]:
        """The slots of a call with each copy of the weights."""
        return _with_copies(_slots(self.workload, self.config, self.seed))

    def _chain_calls(self) -> list[dict[str, Any]]:
        """The same for a chain, whose members have the configs of `lower`."""
        chain: Any = self.workload
        inputs = _chain_inputs(chain, self.seed)
        alone = {"threads": 1} if self.config["rows"] else {}
        self._stages = []  # keeps alive what the slot `stages` points to
        for i, member in enumerate(chain.members):
            config = default_config(member, max_error=0.0) | alone
            slots = _slots(member, config, self.seed + i)
            self._stages.append(_with_copies({**slots, "x": None, "residual": None}))
        calls = []
        for copy in range(max(map(len, self._stages))):
            stages = zip(
                (member.op for member in chain.members),
                (copies[copy % len(copies)] for copies in self._stages),
                strict=True,
            )
            ends = {"x": inputs[0].x, "residual": inputs[-1].residual}
            numbers = {"count": len(inputs), "threads": chain.threads, **self.config}
            calls.append({**ends, **numbers, "stages": fields.stage_array(stages)})
        return calls

    def run(self) -> np.ndarray:
        """Compute once; the array returned is overwritten by the next run."""
        self._args[0].run()
        return self.output

    def check(self) -> Check:
        """Run, and compare with the NumPy reference."""
        expected = _reference(self.workload, self.seed)
        self.output.view(np.uint8).fill(0xFF)  # NaN
        error = np.abs(self.run() - expected.astype(np.float64))
        worst = float(error.max(initial=0.0))
        span = float(np.ptp(expected)) if expected.size else 0.0
        # Inputs have unit variance, so a sum of any length has too; fp32 sums err by a few ulps.
        bound: Any = 2e-5 + 2e-5 * np.abs(expected) + 2 * usual_error(self.config) * span
        if isinstance(self.workload, Quantised):
            bound = 0
        ok = bool(np.all(error <= bound))
        return Check(ok, worst, worst / span if span else worst)

    def time(self, inner: int) -> float:
        """Seconds per call over `inner` calls in C, walking round copies of the weights."""
        return self._args[0].time(inner, self._args[1:])


def _with_copies(slots: dict[str, Any]) -> list[dict[str, Any]]:
    """The slots with different copies of the weights."""
    weights = slots["w"]
    copies = max(1, min(MAX_COPIES, COLD_BYTES // max(1, weights.nbytes)))
    return [{**slots, "w": _aligned(weights)} for _ in range(copies)]


def _aligned(array: np.ndarray) -> np.ndarray:
    """A copy that starts on a cache line."""
    room = _kernels.aligned_bytes(array.nbytes).view(array.dtype).reshape(array.shape)
    room[...] = array
    return room
