"""Plans: runs that do not disturb each other, memory, errors."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import luthier.onnx_frontend  # noqa: F401  (stands behind the reference backend)
from luthier.errors import ArgumentError, InvalidModelError, KernelError, UnsupportedError
from luthier.graph import Graph, Node, Plan, Value, lower, plan

F32 = np.dtype(np.float32)
SHAPE = (4, 6)


def chain(*ops: str) -> Graph:
    """Unary operators one after another, then a product with a constant."""
    rng = np.random.default_rng(0)
    values = [Value("x", F32, SHAPE)]
    nodes = []
    for i, op in enumerate(ops):
        values.append(Value(f"v{i}", F32, SHAPE))
        nodes.append(Node(op, [values[-2]], [values[-1]], {}, f"n{i}", "", 21))
    weights = rng.standard_normal((6, 5)).astype(np.float32)
    constant = Value("w", F32, weights.shape, weights)
    y = Value("y", F32, (4, 5))
    nodes.append(Node("MatMul", [values[-1], constant], [y], {}, "product", "", 21))
    for node in nodes:
        node.output.producer = node
    return Graph(values[:1], [y], nodes)


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)


def answer(graph: Graph, x: np.ndarray) -> np.ndarray:
    """For Neg, Softsign and Abs."""
    for node in graph.nodes[:-1]:
        x = {"Neg": lambda v: -v, "Abs": np.abs, "Softsign": lambda v: v / (1 + abs(v))}[node.op](x)
    return x @ graph.nodes[-1].inputs[1].data


@pytest.mark.parametrize("ops", [("Neg", "Abs"), ("Neg", "Softsign", "Abs")])
@pytest.mark.parametrize("threads", [1, 2])
def test_many_threads_run_one_plan(ops: tuple[str, ...], threads: int) -> None:
    graph = chain(*ops)
    shared = lower(graph, num_threads=threads)
    barrier = threading.Barrier(8)

    def work(worker: int) -> int:
        barrier.wait()
        for i in range(50):
            x = image(1000 * worker + i)
            (y,) = shared.run([x])
            np.testing.assert_allclose(y, answer(graph, x), rtol=1e-5, atol=1e-5)
        return 50

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) == 400


def test_outputs_are_new_and_inputs_may_be_of_any_strides() -> None:
    graph = chain("Neg")
    made = lower(graph)
    x = np.ascontiguousarray(image().T).T
    assert not x.flags.c_contiguous
    (first,) = made.run([x])
    kept = first.copy()
    np.testing.assert_allclose(first, answer(graph, x), rtol=1e-5, atol=1e-6)
    odd = np.frombuffer(b"_" + image(1).tobytes(), np.float32, 24, 1).reshape(SHAPE)
    assert not odd.flags.aligned
    (second,) = made.run([odd])
    np.testing.assert_allclose(second, answer(graph, odd), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(first, kept)
    assert first.flags.owndata and first.flags.writeable


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([], "expected 1 inputs, got 0"),
        ([image(), image()], "expected 1 inputs, got 2"),
        ([image()[:3]], r"input 'x': expected float32 \[4, 6\], got float32 \[3, 6\]"),
        ([image().astype(np.float64)], r"got float64 \[4, 6\]"),
        ([image().astype(">f4")], "got >f4"),
    ],
)
def test_refuses_other_inputs(arrays: list[np.ndarray], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        lower(chain("Neg")).run(arrays)


def failing(made: Plan, call: Callable) -> None:
    """Let the first reference step of `made` be `call`."""
    i = next(i for i, part in enumerate(made._parts) if not isinstance(part, tuple))
    object.__setattr__(made._parts[i], "call", call)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda arrays: [], KernelError, r"node 'n0' \(Softsign\): the reference gives 0 outputs"),
        (
            lambda arrays: [np.zeros((1, 6), np.float32)],
            KernelError,
            r"node 'n0' \(Softsign\): the reference gives shape \[1, 6\], not \[4, 6\]",
        ),
    ],
)
def test_a_failed_run_leaves_the_plan_usable(
    call: Callable, error: type[Exception], message: str
) -> None:
    graph = chain("Softsign", "Neg")
    made = lower(graph)
    x = image()
    made.run([x])
    (instance,) = made._idle
    good = next(part.call for part in made._parts if not isinstance(part, tuple))
    failing(made, call)
    with pytest.raises(error, match=message):
        made.run([x])
    assert made._idle == [instance]
    failing(made, good)
    np.testing.assert_allclose(made.run([x])[0], answer(graph, x), rtol=1e-5, atol=1e-6)


def test_errors_of_kernels_name_the_node() -> None:
    made = lower(
        chain("Neg"), lambda workload: ({**legal(), "mr": 13, "nv": 4, "ku": 3}, "default")
    )
    for _ in range(2):
        with pytest.raises(KernelError, match=r"node 'product' \(MatMul\): gemm.*no such"):
            made.run([image()])


def legal() -> dict:
    return next(n.config for n in lower(chain("Neg")).nodes if n.config)


def test_errors_of_models_leave_the_plan_usable() -> None:
    """An index that is out of range is found when the node runs."""
    x, i = Value("x", F32, (3,)), Value("i", np.dtype(np.int64), (2,))
    y = Value("y", F32, (2,))
    y.producer = Node("Gather", [x, i], [y], {"axis": 0}, "pick", "", 21)
    made = lower(Graph([x, i], [y], [y.producer]))
    data = np.arange(3, dtype=np.float32)
    with pytest.raises(InvalidModelError, match=r"node 'pick' \(Gather\): .*index is out of range"):
        made.run([data, np.array([0, 7])])
    np.testing.assert_array_equal(made.run([data, np.array([2, -3])])[0], [2, 0])


def test_activations_over_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan.limits, "MAX_ARENA_BYTES", 250)
    with pytest.raises(UnsupportedError, match="activations take 256 bytes, over the limit"):
        lower(chain("Neg", "Neg", "Neg"))


def test_a_plan_keeps_only_what_it_reads() -> None:
    """The weights that were packed may go, with the graph; packed ones go with the last plan."""
    packed: weakref.WeakValueDictionary = weakref.WeakValueDictionary()
    graph = chain("Neg", "Softsign")
    x, want = image(), answer(graph, image())
    first = lower(graph, packed=packed)
    (weights,) = packed.values()
    second = lower(graph, packed=packed)
    assert list(packed.values()) == [weights]
    original = weakref.ref(graph.nodes[-1].inputs[1].data)
    del graph, weights, first
    gc.collect()
    assert original() is None
    np.testing.assert_allclose(second.run([x])[0], want, rtol=1e-5, atol=1e-6)
    del second
    gc.collect()
    assert len(packed) == 0


def test_profile_and_text() -> None:
    made = lower(chain("Neg", "Softsign"))
    times = made.profile([image()], repeats=3)
    assert times.shape == (3,) and (times > 0).all()
    lines = made.text(times).splitlines()
    assert len(lines) == 4
    assert "unary_f32" in lines[0] and "us" in lines[0]
    assert lines[1].endswith("(native: no kernel)")
    assert "gemm_f32" in lines[2] and "default" in lines[2] and "mr=" in lines[2]
    assert lines[3].startswith("arena ")


def test_weights_and_flops_are_counted() -> None:
    made = lower(chain("Neg"))
    assert made.flops == 2 * 4 * 6 * 5
    assert made.weights_bytes >= 4 * 6 * 5
    assert made.arena_bytes >= 4 * 4 * 6


def test_the_graph_alone_loads_no_compiled_code() -> None:
    code = (
        "import sys, luthier.graph.ir, luthier.graph;"
        "print(*(m for m in sys.modules if m in ("
        "'luthier.kernels._kernels', 'luthier.graph._executor', 'luthier.graph.passes', 'onnx')));"
        "print(luthier.graph.lower.__name__, luthier.graph.Plan.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["", "lower Plan"]
