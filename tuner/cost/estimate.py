"""Seconds of a workload under a config, from what is known of the CPU alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from luthier.kernels.workload import Chain, DepthwiseConv2d, Precision, QDepthwiseConv2d
from luthier.target import Target, profile, profiles
from luthier.tuner.cost.depthwise import depthwise_parts
from luthier.tuner.cost.factors import Fitted, family_of, fitted
from luthier.tuner.cost.products import product_parts

__all__ = ["Estimate", "clock", "estimate", "is_modelled", "parts_of"]

USUAL_MHZ = {"aarch64": 1800, "x86_64": 3000}
"""Of cores whose clock is unknown."""


@dataclass(frozen=True)
class Estimate:
    """What a call is estimated to take.

    Attributes
    ----------
    seconds : float
    parts : dict of str to float
        Seconds by part (see `luthier.tuner.cost.factors.PARTS`); they add up to `seconds`.
    """

    seconds: float
    parts: dict[str, float]


@cache
def clock(target: Target) -> float:
    """Cycles in a second; where the target does not tell, those of a profile of the same core."""
    if target.max_mhz:
        return target.max_mhz * 1e6
    same = (p.max_mhz for p in map(profile, profiles()) if p.core == target.core and p.max_mhz)
    return next(same, USUAL_MHZ[target.arch]) * 1e6


def is_modelled(workload: Any) -> bool:
    """Whether the workload is one of those that have a model of their own: not a chain or a
    precision, which decide about others."""
    return not isinstance(workload, (Chain, Precision))


def parts_of(workload: Any, config: Mapping[str, Any], target: Target) -> dict[str, float]:
    """Cycles by part, before factors."""
    if isinstance(workload, (DepthwiseConv2d, QDepthwiseConv2d)):
        return depthwise_parts(workload, config, target)
    return product_parts(workload, config, target)


def estimate(
    workload: Any,
    config: Mapping[str, Any],
    target: Target,
    *,
    factors: Fitted | None = None,
) -> Estimate:
    """The time of one call.

    Parameters
    ----------
    workload : Workload
        Of one operator; see `is_modelled`.
    config : mapping
        One of the workload's space.
    target : Target
    factors : Fitted, optional
        How much each part counts; by default those of the package.

    Examples
    --------
    >>> from luthier.kernels import Workload
    >>> from luthier.kernels.spaces import default_config
    >>> from luthier.target import profile
    >>> w = Workload.parse("gemm/f32/b1m64n64k64/packed/epi=bias/t1")
    >>> a72 = profile("cortex-a72")
    >>> 1e-5 < estimate(w, default_config(w, a72), a72).seconds < 1e-3
    True
    """
    weights = (factors or fitted()).families[family_of(workload)].factors
    hertz = clock(target)
    parts = {
        name: cycles * weights.get(name, 1.0) / hertz
        for name, cycles in parts_of(workload, config, target).items()
        if cycles
    }
    return Estimate(sum(parts.values()), parts)
