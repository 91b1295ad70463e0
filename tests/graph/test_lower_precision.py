"""Products of bytes that are computed in float32 instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import interp
import numpy as np
import pytest
from graphs import compare_golden
from quantised_graphs import QuantisedBuilder

from luthier.graph import Graph, Plan, Value, lower, optimize, tunable_workloads
from luthier.kernels import Precision, Workload, precision_spaces


@pytest.fixture(autouse=True)
def every_choice_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_spaces, "HOPELESS", np.inf)


def conv(b: QuantisedBuilder, x: Value, out: int, size: int = 3, **attrs: Any) -> Value:
    """A convolution that keeps the shape; depthwise if `out` is 0."""
    channels = x.shape[1]
    w = b.weights(out or channels, channels if out else 1, size, size)
    group = 1 if out else channels
    return b.op("Conv", x, w, b.bias(w), pads=[size // 2] * 4, group=group, **attrs)


def block() -> Graph:
    """A depthwise convolution between two others, with a range, a table and a residual."""
    b = QuantisedBuilder()
    x = b.real("x", 1, 6, 9, 7)
    wide = b.op("Clip", conv(b, x, 20, 1), b.const(0.0), b.const(6.0))
    wide = b.dq(b.q(wide, 0.03, 0), 0.03, 0)
    y = b.dq(b.q(conv(b, wide, 0), 0.2, 128), 0.2, 128)
    y = b.dq(b.q(b.op("Sigmoid", y), 1 / 256, 0), 1 / 256, 0)
    y = b.dq(b.q(conv(b, y, 6), 0.2, 128), 0.2, 128)
    return b.done(b.q(b.op("Add", x, y), 0.3, 90), conv(b, x, 4))


def dense() -> Graph:
    b = QuantisedBuilder()
    w = b.weights(8, 6)
    y = b.op("Relu", b.op("Gemm", b.real("x", 5, 6), w, b.bias(w), transB=1))
    y = b.dq(b.q(y, 0.1, 3), 0.1, 3)
    return b.done(b.op("MatMul", y, b.weights(8, 4, axis=1)))


GRAPHS = [block, dense]


def with_precision(*floats: str, every: str = "int8") -> Callable[[Workload], tuple]:
    """Chooses float32 for layers whose key has one of `floats` in it, or `every` precision."""

    def choose(workload: Workload) -> tuple[dict | None, str]:
        if not isinstance(workload, Precision):
            return None, "default"
        real = any(part in workload.key for part in floats)
        return {"precision": "f32" if real else every}, "exact"

    return choose


def operators(plan: Plan) -> list[str]:
    """The operator and type of each step's kernel."""
    return ["_".join(node.kernel.split("_")[:2]) for node in plan.nodes]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("build", GRAPHS)
def test_a_quantum_apart(build: Callable[[], Graph], threads: int) -> None:
    graph = optimize(build())
    feeds = interp.random_feeds(graph, 0)
    integer, real = (
        lower(graph, with_precision(every=p), threads, ("native",)) for p in ("int8", "f32")
    )
    count = sum(n.op not in ("QLinearAdd", "LookUp", "Transpose") for n in integer.nodes)
    assert operators(real).count("dequantize_u8") == count
    assert not any(op.startswith(("qconv", "qgemm", "qdw")) for op in operators(real))
    for a, b in zip(integer.run(feeds), real.run(feeds), strict=True):
        assert np.ptp(a) > 0
        quantum = 1 if a.dtype == np.uint8 else 0.01 * np.abs(a).max()
        assert np.abs(a.astype(float) - b).max() <= quantum


def test_each_layer_is_decided_on_its_own() -> None:
    graph = optimize(block())
    feeds = interp.random_feeds(graph, 1)
    choose = with_precision("qdepthwise", "epi=bias,residual")
    mixed = lower(graph, choose, 1, ("native",))
    lines = [f"{n.op} {n.node}: {op}" for n, op in zip(mixed.nodes, operators(mixed), strict=True)]
    compare_golden("mixed_plan", "\n".join(lines) + "\n")
    for a, b in zip(lower(graph).run(feeds), mixed.run(feeds), strict=True):
        assert np.abs(a.astype(float) - b).max() <= (1 if a.dtype == np.uint8 else 1e-6)


def test_integer_models_stay_integer() -> None:
    b = QuantisedBuilder()
    graph = optimize(b.done(b.qconv(b.bytes_input("x", 1, 4, 5, 5), 4, 3)))
    assert [w.op for _, w in tunable_workloads(graph, 1)] == ["qconv2d"]


def test_the_choice_and_both_products_are_tasks_whatever_is_chosen() -> None:
    graph = optimize(dense())
    found = tunable_workloads(graph, 2)
    choices = [w for _, w in found if isinstance(w, Precision)]
    assert len(choices) == 2
    assert {w.key for _, w in found} == {w.key for c in choices for w in (c, c.integer, c.real)}
    for precision in ("int8", "f32"):
        plan = lower(graph, with_precision(every=precision), 2)
        for choice in choices:
            steps = [n for n in plan.nodes if choice.key in n.tasks]
            assert len(steps) == (1 if precision == "int8" else 3 - (choice.integer.y == "f32"))
            keys = {key for n in steps for key in n.tasks}
            assert keys == {choice.key, choice.members[precision == "f32"].key}


def test_views_into_wider_maps_stay_integer() -> None:
    """Conversions want dense maps."""
    b = QuantisedBuilder()
    x = b.real("x", 1, 6, 9, 7)
    parts = [b.dq(b.q(conv(b, x, 4), 0.2, 128), 0.2, 128) for _ in range(2)]
    graph = optimize(b.done(b.q(b.op("Concat", *parts, axis=1), 0.2, 128)))
    assert not any(isinstance(w, Precision) for _, w in tunable_workloads(graph, 1))


@pytest.mark.parametrize(
    ("times", "chosen", "reason"),
    [
        ({"int8": 41e-6, "f32": 38e-6}, "f32", "int8 slower here: 41 us against 38 us"),
        ({"int8": 9e-6, "f32": 38e-6}, "int8", "f32 slower here: 38 us against 9 us"),
        (
            {"int8": 41e-6, "f32": 38e-6},
            "int8",
            "f32 not faster in the model, if alone: 38 us against 41 us",
        ),
        ({}, "int8", "f32 estimated to be slower: 7 against 3 thousand cycles"),
        ({}, "f32", ""),
    ],
)
def test_the_plan_says_why(
    times: dict[str, float], chosen: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def estimates(*_: Any) -> dict[str, float]:
        return {"int8": 3e3, "f32": 7e3}

    monkeypatch.setattr("luthier.graph.lowering.precision.estimates", estimates)

    def seconds(workload: Workload, config: Any) -> float | None:
        assert isinstance(workload, Precision)
        return times.get(config["precision"])

    plan = lower(optimize(dense()), with_precision(every=chosen), seconds=seconds)
    for key in {key for n in plan.nodes for key in n.tasks if key.startswith("precision")}:
        first, *others = (n for n in plan.nodes if key in n.tasks)
        assert first.reason == reason
        assert not any(n.reason for n in others)
    assert (f"({reason})" in plan.text()) == bool(reason)
