"""Roofs and what bounds a layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from luthier.bench import roofline
from luthier.bench.roofline import Roofs
from luthier.kernels import _kernels, isas

CONV = "conv2d/f32/n1c{c}h56w56/k64r{r}s{r}/st{s}.{s}/p1.1.1.1/d1.1/g1/epi=bias/t1"
GEMM = "gemm/f32/b1m{m}n8k8/packed/epi=none/t1"
DEPTHWISE = "depthwise_conv2d/f32/n1c8h{h}w{h}/r3s3/st2.2/p1.1.1.1/d1.1/epi=bias/t1"


def step(workload: str = "", **more: Any) -> dict[str, Any]:
    sizes = {"flops": 0, "activation_bytes": 0, "constant_bytes": 0}
    return {"node": "n", "op": "Add", "workload": workload, "seconds": 1.0, **sizes, **more}


@pytest.mark.parametrize(
    ("workload", "kind"),
    [
        ("", "Add"),
        (CONV.format(c=64, r=3, s=1), "conv 3x3"),
        (CONV.format(c=64, r=1, s=2), "conv 1x1 / 2"),
        (CONV.format(c=3, r=7, s=2), "first conv 7x7"),
        (DEPTHWISE.format(h=8), "depthwise 3x3 / 2"),
        (DEPTHWISE.format(h=1), "depthwise of one pixel"),
        (GEMM.format(m=1), "gemm, M = 1"),
        (GEMM.format(m=2), "gemm"),
    ],
)
def test_kinds(workload: str, kind: str) -> None:
    assert roofline.kind(step(workload)) == kind


def test_bounds() -> None:
    roofs = Roofs(100.0, {1 << 10: 50.0, 1 << 20: 10.0})
    assert roofline.bound(step(flops=1000), 0, roofs) == (10, "FMA")
    near, far = step(activation_bytes=1000), step(constant_bytes=1000)
    assert roofline.bound(near, 1 << 20, roofs) == (20, "memory")
    assert roofline.bound(far, 1 << 20, roofs) == (100, "memory")
    assert roofline.bound(far, 1 << 15, roofs)[0] == pytest.approx(1000 / 30)  # between the two
    assert roofline.bound(far, 1 << 30, roofs) == (100, "memory")  # no further than measured
    (row,) = roofline.summarise([step(flops=50)], 0, roofs)
    assert row == {"node": "n", "kind": "Add", "seconds": 1.0, "bound": "FMA", "share": 0.5}


def test_roofs_survive_json() -> None:
    roofs = Roofs(1.0, {16: 2.0})
    assert Roofs.of_json({"flops": 1.0, "bandwidth": {"16": 2.0}}) == roofs
    assert Roofs.of_json(roofs.as_json()) == roofs


@pytest.mark.parametrize("isa", isas())
@pytest.mark.parametrize("count", [1, 7, 4099])
def test_bandwidth_of_any_size(isa: str, count: int) -> None:
    room = np.zeros(count + 1024, np.float32)
    buffer = room[512 : 512 + count]
    buffer[:] = 1
    assert _kernels.bandwidth(isa, buffer) > 0
    assert not room[:512].any() and not room[512 + count :].any()
    assert (buffer == 1).all()  # its first half over its second


def test_bandwidth_of_nothing() -> None:
    with pytest.raises(ValueError, match="the buffer is empty"):
        _kernels.bandwidth("scalar", np.empty(0, np.float32))
