"""Chains of convolutions: where they are found, and plans that compute them in bands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from graphs import Builder, compare_golden

from luthier.graph import Graph, Plan, Value, lower, optimize, tunable_workloads
from luthier.graph.lowering import chains
from luthier.kernels import Chain, DepthwiseConv2d


@pytest.fixture(autouse=True)
def small_maps_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "MIN_MAP_BYTES", 0)


def conv(b: Builder, x: Value, out: int, kernel: int = 1, stride: int = 1, **how: Any) -> Value:
    """A convolution that keeps the size, or halves it; depthwise if `out` is 0."""
    channels = x.shape[1]
    pads = how.pop("pads", [kernel // 2] * 4)
    groups = 1 if out else channels
    w = b.weight(out or channels, channels // groups, kernel, kernel)
    bias = b.weight(out or channels)
    window = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "dilations": [1, 1]}
    return b.op("Conv", x, w, bias, pads=pads, group=groups, **window)


def relu6(b: Builder, x: Value) -> Value:
    return b.op("Clip", x, b.const(0.0), b.const(6.0))


def inverted_residual(h: int = 13, w: int = 9, n: int = 1) -> Graph:
    b = Builder()
    x = b.input("x", n, 6, h, w)
    first = b.op("Relu", x)  # read twice
    wide = relu6(b, conv(b, first, 20))
    between = relu6(b, conv(b, wide, 0, 3))
    return b.done(b.op("Add", conv(b, between, 6), first))


def network(h: int = 33, w: int = 21, n: int = 1) -> Graph:
    """A stem, blocks with and without residual, a large window, and two branches joined."""
    b = Builder()
    x = b.input("x", n, 3, h, w)
    x = relu6(b, conv(b, x, 8, 3, 2))
    x = b.op("Relu", conv(b, x, 0, 3))
    x = conv(b, x, 6)
    for _ in range(2):
        wide = relu6(b, conv(b, x, 20))
        x = b.op("Add", conv(b, relu6(b, conv(b, wide, 0, 5)), 6), x)
    left = conv(b, b.op("Relu", conv(b, x, 0, 3, 2)), 10)
    right = conv(b, conv(b, x, 12, 2, pads=[1, 0, 0, 1]), 10, 3, 2, pads=[0, 0, 2, 2])
    return b.done(b.op("Concat", left, right, axis=1), x)


def in_bands(rows: int) -> Callable:
    """Chooses bands of `rows` rows, and defaults for all else."""
    return lambda w: ({"rows": rows} if isinstance(w, Chain) else None, "default")


def image(graph: Graph, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(graph.inputs[0].shape, np.float32)


def chains_of(plan: Plan) -> list[int]:
    """The number of members of each chain computed in bands."""
    return [node.node.count(" > ") + 1 for node in plan.nodes if node.op == "Chain"]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize("size", [(33, 21, 1), (40, 8, 3), (1, 9, 1), (7, 1, 2)], ids=str)
def test_bands_do_not_change_a_bit(size: tuple[int, int, int], rows: int, threads: int) -> None:
    graph = optimize(network(*size))
    plain, banded = (lower(graph, in_bands(r), threads) for r in (0, rows))
    assert (chains_of(plain), chains_of(banded)) == ([], [3, 3, 3, 2, 2])
    x = image(graph)
    for a, b in zip(plain.run([x]), banded.run([x]), strict=True):
        assert np.ptp(a) > 0
        np.testing.assert_array_equal(a, b)
    for a, b in zip(banded.run([x]), plain.run([x]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_arena_shrinks() -> None:
    graph = optimize(inverted_residual(64, 32))
    plain, banded = lower(graph, in_bands(0)), lower(graph, in_bands(2))
    wide = 4 * 64 * 32 * 20
    assert plain.arena_bytes > 2 * wide
    assert banded.arena_bytes < wide + 4 * 64 * 32 * 6
    assert banded.weights_bytes >= plain.weights_bytes


def test_weights_outlive_the_graph() -> None:
    graph = optimize(inverted_residual())
    x = image(graph)
    expected = lower(graph, in_bands(0)).run([x])[0]
    plan = lower(graph, in_bands(2))
    del graph
    np.full((1 << 20,), np.nan)  # takes what was given back
    np.testing.assert_array_equal(plan.run([x])[0], expected)


def test_a_record_that_is_not_legal_gives_way() -> None:
    graph = optimize(inverted_residual())
    for config in ({"rows": 3}, {"rows": -1}, {"rows": "2"}, {}, {"mr": 1}):
        plan = lower(
            graph, lambda w, c=config: (c, "exact") if isinstance(w, Chain) else (None, "")
        )
        assert chains_of(plan) == []


def test_the_text_of_a_plan_in_bands() -> None:
    def scalar(w: Any) -> tuple[dict, str]:
        if isinstance(w, Chain):
            return {"rows": 4}, "default"
        if isinstance(w, DepthwiseConv2d):
            return {
                "special": 0,
                "owt": 1,
                "cv": 1,
                "isa": "scalar",
                "cb": 9,
                "threads": 1,
            }, "default"
        blocks = {"mc": 99, "nc": 99, "kc": 99, "split_n": 0, "threads": 1}
        tile = {"isa": "scalar", "mr": 4, "nv": 1, "ku": 1, "prefetch": 0}
        return {"algo": "pointwise" if w.pointwise else "direct", **tile, **blocks}, "default"

    plan = lower(optimize(network()), scalar)
    lines = [line for line in plan.text().splitlines() if "Conv" in line or "Chain" in line]
    compare_golden("banded_plan", "\n".join(lines) + "\n")


def test_a_chain_and_its_members_are_tasks_whether_in_bands_or_not() -> None:
    graph = optimize(inverted_residual())
    names = [name for name, _ in tunable_workloads(graph, 2)]
    *members, whole = sorted(names, key=len)
    assert whole.split(" > ") == [n.name for n in graph.nodes if n.op == "Conv"]
    assert set(members) == set(whole.split(" > "))
    workloads = {w.key for _, w in tunable_workloads(graph, 2)}
    plain, banded = (lower(graph, in_bands(rows), 2) for rows in (0, 2))
    (step,) = [n for n in banded.nodes if n.op == "Chain"]
    assert set(step.tasks) == workloads
    assert step.flops == sum(n.flops for n in plain.nodes) == plain.flops
    shared = [set(n.tasks) for n in plain.nodes if n.op == "Conv"]
    assert set.intersection(*shared) == {step.workload}
    assert set.union(*shared) == workloads


def test_tasks_are_the_same_where_bands_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = optimize(inverted_residual())
    apart = tunable_workloads(graph, 2)
    monkeypatch.setattr("luthier.kernels.chain_spaces.default_config", lambda w, t: {"rows": 2})
    assert chains_of(lower(graph, num_threads=2)) == [3]
    assert tunable_workloads(graph, 2) == apart


def test_the_configs_of_members_are_chosen_as_ever() -> None:
    asked = []

    def choose(w: Any) -> tuple[dict | None, str]:
        asked.append(w)
        return ({"rows": 2} if isinstance(w, Chain) else None), "default"

    lower(optimize(inverted_residual()), choose, 2)
    chain, *members = asked
    assert tuple(members) == chain.members


@pytest.mark.parametrize(
    "spoil",
    [
        lambda b, x: b.op("Relu", x),
        lambda b, x: b.op("Conv", x, b.input("w", 4, 20, 1, 1), **WINDOW),
        lambda b, x: b.op("Conv", x, b.weight(4, 20, 1, 1), b.input("b", 4), **WINDOW),
        lambda b, x: conv(b, x, 4, pads=[1, 0, 1, 0]),  # rows of padding alone
        lambda b, x: b.op("MaxPool", x, kernel_shape=[2, 2]),
    ],
    ids=["other operator", "weights", "bias", "padding", "pool"],
)
def test_what_cannot_be_a_member(spoil: Callable) -> None:
    b = Builder()
    x = b.input("x", 1, 6, 9, 9)
    y = spoil(b, conv(b, x, 20))
    assert chains_of(lower(optimize(b.done(y)), in_bands(1))) == []


WINDOW = {
    "kernel_shape": [1, 1], "strides": [1, 1], "dilations": [1, 1], "pads": [0] * 4, "group": 1,
}  # fmt: skip


def test_a_map_that_others_read_is_no_part_of_a_chain() -> None:
    b = Builder()
    x = b.input("x", 1, 6, 9, 9)
    shown = conv(b, x, 20)
    twice = conv(b, shown, 8)
    y = b.op("Add", conv(b, twice, 4), conv(b, twice, 4, 3))
    graph = optimize(b.done(shown, y))
    plan = lower(graph, in_bands(1))
    assert chains_of(plan) == []


def test_winograd_keeps_a_convolution_out_of_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = optimize(inverted_residual())
    assert chains_of(lower(graph, in_bands(2))) == [3]
    monkeypatch.setattr(chains, "default_config", lambda w, target: {"algo": "winograd4"})
    assert chains_of(lower(graph, in_bands(2))) == []


def test_a_hint_for_the_reference_is_respected() -> None:
    graph = optimize(inverted_residual())
    middle = [n for n in graph.nodes if n.op == "Conv"][1]
    middle.backend = "reference"
    plan = lower(graph, in_bands(2))
    assert chains_of(plan) == []
    assert [n.op for n in plan.nodes if n.backend == "reference"] == ["Conv"]


@pytest.mark.parametrize(
    ("limit", "value", "expected"),
    [
        ("MAX_MEMBERS", 2, [2, 2, 2, 2, 2]),
        ("MAX_WEIGHTS_BYTES", 0, []),
        ("MIN_MAP_BYTES", 1 << 20, []),
    ],
)
def test_limits(
    limit: str, value: int, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, limit, value)
    plan = lower(optimize(network()), in_bands(2))
    assert chains_of(plan) == expected
