"""What every way to reach a luthier-runner is tested with."""

from __future__ import annotations

from luthier.kernels.workload import Workload
from luthier.tuner import Effort
from luthier.tuner.remote import RemoteMeasurer

QUICK = Effort(sample=1e-4, samples=1, most=1, rounds=2)
"""One sample is never unstable, however busy the machine."""

WORKLOADS = (
    "gemm/f32/b1m33n40k64/packed/epi=bias,relu/t2",
    "gemm/f32/b2m5n17k9/plain/epi=none/t1",
    "conv2d/f32/n1c19h9w8/k21r3s3/st1.1/p1.1.1.1/d1.1/g1/epi=bias,residual,relu/t2",
    "conv2d/f32/n1c16h7w7/k24r1s1/st1.1/p0.0.0.0/d1.1/g1/epi=bias/t1",
    "depthwise_conv2d/f32/n1c21h9w8/r3s3/st1.1/p1.1.1.1/d1.1/epi=bias,clip/t1",
)


def check_configs(measurer: RemoteMeasurer, key: str, count: int = 8) -> None:
    """Several configs of one workload, over the whole space, answer right and are timed."""
    workload = Workload.parse(key)
    space = measurer.space(workload)
    chosen = space.configs[:: max(1, len(space.configs) // count)]
    results = [measurer.measure(workload, config, space.default) for config in chosen]
    assert {(r.status, r.error) for r in results} == {("ok", "")}
    assert all(r.check.ok and r.check.max_abs < 1e-3 and r.seconds > 0 for r in results)
