"""How near a layer comes to what the machine can do (S. Williams et al., Roofline, CACM 52, 2009).

A layer takes at least the time of its multiply-adds at the measured peak, and at least that of
moving its tensors once, at the bandwidth measured for buffers of that size: activations where they
fit by themselves, weights where all weights of the model do, since all others come in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from luthier.kernels import Workload, _kernels, isas

__all__ = ["Roofs", "bound", "kind", "measure_roofs", "summarise"]

SIZES = tuple(1 << n for n in range(14, 29))
"""Bytes of the buffers that bandwidth is measured with."""


@dataclass(frozen=True)
class Roofs:
    """What one thread of this machine can do.

    Attributes
    ----------
    flops : float
        Floating-point operations a second of float32 multiply-adds.
    bandwidth : mapping of int to float
        Bytes touched to bytes a second that are read, or read and written, whichever is more.
    """

    flops: float
    bandwidth: Mapping[int, float]

    def seconds(self, nbytes: int, home: int) -> float:
        """Time to move `nbytes` that are part of a working set of `home` bytes."""
        sizes = sorted(self.bandwidth)
        rates = [self.bandwidth[s] for s in sizes]
        return nbytes / float(np.interp(np.log2(max(home, 1)), np.log2(sizes), rates))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, found: dict[str, Any]) -> Roofs:
        return cls(found["flops"], {int(k): v for k, v in found["bandwidth"].items()})


def measure_roofs() -> Roofs:
    """Measure one thread; takes a second or two."""
    return Roofs(
        max(_kernels.peak_flops(isa) for isa in isas()),
        {
            n: max(_kernels.bandwidth(isa, np.ones(n // 4, np.float32)) for isa in isas())
            for n in SIZES
        },
    )


def bound(step: Mapping[str, Any], weights: int, roofs: Roofs) -> tuple[float, str]:
    """Least seconds that a step can take, and what bounds it.

    Parameters
    ----------
    step : mapping
        A step of ``luthier inspect --json``.
    weights : int
        Bytes of all weights of the model.
    roofs : Roofs

    Returns
    -------
    seconds : float
    what : str
        ``"FMA"`` or ``"memory"``.
    """
    moved = step["activation_bytes"]
    memory = roofs.seconds(moved, moved) + roofs.seconds(step["constant_bytes"], weights)
    compute = step["flops"] / roofs.flops
    return (compute, "FMA") if compute >= memory else (memory, "memory")


def kind(step: Mapping[str, Any]) -> str:
    """What a step is, coarsely: layers of one kind are slow for one reason.

    Examples
    --------
    >>> key = "conv2d/f32/n1c64h56w56/k64r3s3/st1.1/p1.1.1.1/d1.1/g1/epi=bias/t1"
    >>> kind({"op": "Conv", "workload": key})
    'conv 3x3'
    """
    if not step["workload"]:
        return step["op"]
    w: Any = Workload.parse(step["workload"])
    if w.op in ("chain", "precision"):
        return w.op
    if w.op == "gemm":
        return "gemm, M = 1" if w.m == 1 else "gemm"
    name = "depthwise" if w.op == "depthwise_conv2d" else "conv"
    if w.op == "conv2d" and w.c <= 4:
        return f"first {name} {w.r}x{w.s}"
    if w.oh * w.ow == 1:
        return f"{name} of one pixel"
    stride = f" / {w.strides[0]}" if w.strides[0] > 1 else ""
    return f"{name} {w.r}x{w.s}{stride}"


def summarise(
    steps: Sequence[Mapping[str, Any]], weights: int, roofs: Roofs
) -> list[dict[str, Any]]:
    """Steps with what bounds them.

    Returns
    -------
    list of dict
        node, kind, seconds, bound (``"FMA"`` or ``"memory"``) and share of the roof.
    """
    found = []
    for step in steps:
        least, what = bound(step, weights, roofs)
        found.append(
            {
                "node": step["node"],
                "kind": kind(step),
                "seconds": step["seconds"],
                "bound": what,
                "share": least / step["seconds"],
            }
        )
    return found
