"""InferenceSession: its shape, its checks, its plans."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import small_model

import luthier
from luthier import session as session_module


def image(n: int = 1, h: int = 6, w: int = 7, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 3, h, w), np.float32)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model.write_model(tmp_path_factory.mktemp("model") / "small.onnx")


@pytest.fixture
def session(path: Path) -> luthier.InferenceSession:
    return luthier.InferenceSession(path, num_threads=1, records=None)


def test_describes_inputs_and_outputs(session: luthier.InferenceSession) -> None:
    (x,) = session.get_inputs()
    assert (x.name, x.shape, x.type) == ("x", ["n", 3, "h", "w"], "tensor(float)")
    assert [o.name for o in session.get_outputs()] == ["scores", "p"]


@pytest.mark.parametrize("backends", [("native", "reference"), ("reference",)])
def test_runs_right_for_any_shape(path: Path, backends: tuple[str, ...]) -> None:
    session = luthier.InferenceSession(path, num_threads=2, records=None, backends=backends)
    for shape in ((1, 6, 7), (3, 1, 1), (2, 9, 4)):
        x = image(*shape)
        for got, want in zip(session.run(None, {"x": x}), small_model.expected(x), strict=True):
            assert got.dtype == want.dtype
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_runs_from_bytes(path: Path) -> None:
    x = image()
    (scores, _) = luthier.InferenceSession(path.read_bytes(), records=None).run(None, {"x": x})
    np.testing.assert_allclose(scores, small_model.expected(x)[0], rtol=1e-5, atol=1e-5)


def test_returns_the_outputs_asked_for(session: luthier.InferenceSession) -> None:
    x = image()
    first = session.run(["p", "scores"], {"x": x})
    assert [a.shape for a in first] == [(1, 8, 1, 1), (1, 5)]
    kept = first[1].copy()
    session.run(None, {"x": image(seed=1)})
    np.testing.assert_array_equal(first[1], kept)  # a later run leaves it alone


def test_takes_arrays_of_any_strides(session: luthier.InferenceSession) -> None:
    x = image(h=7, w=6)
    turned = x.transpose(0, 1, 3, 2)
    np.testing.assert_array_equal(
        session.run(None, {"x": turned})[0], session.run(None, {"x": turned.copy()})[0]
    )


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, "missing inputs: x"),
        ({"x": image(), "y": image()}, "no input 'y'; the inputs are: x"),
        ({"x": image().astype(np.float64)}, "input 'x': expected float32, got float64"),
        ({"x": image()[0]}, r"input 'x': expected \[n, 3, h, w\], got \[3, 6, 7\]"),
        ({"x": image()[:, :2]}, r"input 'x': expected \[n, 3, h, w\], got \[1, 2, 6, 7\]"),
    ],
)
def test_refuses_feeds_that_do_not_fit(
    session: luthier.InferenceSession, feeds: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(luthier.ArgumentError, match=message):
        session.run(None, feeds)


def test_refuses_bad_arguments(path: Path, session: luthier.InferenceSession) -> None:
    with pytest.raises(luthier.ArgumentError, match="no output 'y'; the outputs are: scores, p"):
        session.run(["y"], {"x": image()})
    with pytest.raises(luthier.ArgumentError, match="num_threads must be positive, got 0"):
        luthier.InferenceSession(path, num_threads=0)
    with pytest.raises(luthier.ArgumentError, match="unknown backends"):
        luthier.InferenceSession(path, backends=("gpu",))
    with pytest.raises(luthier.ArgumentError, match="max_error must be zero or a positive"):
        luthier.InferenceSession(path, max_error=-1e-6)
    with pytest.raises(luthier.ArgumentError, match="no backend given"):
        luthier.InferenceSession(path, backends=())


def test_the_bound_on_errors_rules_out_winograd() -> None:
    from onnx import TensorProto, helper, numpy_helper

    x, w = (np.random.default_rng(i).random((1, 16, 20, 20), np.float32) for i in (0, 1))
    w = w[:, :, :3, :3].repeat(16, axis=0)
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 16, 18, 18)),
    ]
    weights = [numpy_helper.from_array(w, "w")]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    found = {}
    for bound in (0.0, 1e-5):
        session = luthier.InferenceSession(
            model.SerializeToString(), num_threads=1, records=None, max_error=bound
        )
        kernels = [node.kernel for node in session.plan({"x": x}).nodes]
        assert any("winograd" in kernel for kernel in kernels) == (bound > 0)
        (found[bound],) = session.run(None, {"x": x})
    np.testing.assert_allclose(found[0.0], found[1e-5], rtol=1e-5)


def test_keeps_a_bounded_number_of_plans(
    session: luthier.InferenceSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "MAX_PLANS", 2)
    first, second, third = ({"x": image(h=h)} for h in (1, 2, 3))
    plan = session.plan(first)
    session.plan(second)
    assert session.plan(first) is plan
    session.plan(third)  # drops the second, which was not used for longest
    assert session.plan(first) is plan
    assert session.plan(second) is session.plan(second)
    assert session.plan(first) is plan


def test_may_be_used_by_many_threads(session: luthier.InferenceSession) -> None:
    xs = [image(h=1 + i % 5, seed=i) for i in range(40)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda x: session.run(["scores"], {"x": x})[0], xs))
    for x, scores in zip(xs, found, strict=True):
        np.testing.assert_allclose(scores, small_model.expected(x)[0], rtol=1e-5, atol=1e-5)


def test_default_threads_can_be_set(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_NUM_THREADS", "3")
    assert luthier.InferenceSession(path, records=None).num_threads == 3
    monkeypatch.setenv("LUTHIER_NUM_THREADS", "many")
    with pytest.raises(luthier.ArgumentError, match="LUTHIER_NUM_THREADS"):
        luthier.InferenceSession(path, records=None)


def test_shapes_that_depend_on_values(tmp_path: Path) -> None:
    """A Reshape to a shape that is an input: one plan for each content of that input."""
    from onnx import TensorProto, helper, save

    node = helper.make_node("Reshape", ["x", "shape"], ["y"], "reshape")
    graph = helper.make_graph(
        [node],
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [6]),
            helper.make_tensor_value_info("shape", TensorProto.INT64, [2]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b"])],
    )
    opset = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "r.onnx")
    session = luthier.InferenceSession(tmp_path / "r.onnx", records=None)
    x = np.arange(6, dtype=np.float32)
    for shape in ((2, 3), (3, 2), (2, 3)):
        (y,) = session.run(None, {"x": x, "shape": np.array(shape)})
        np.testing.assert_array_equal(y, x.reshape(shape))


def switched_model() -> bytes:
    """y = x + 1 where `mode` is 0 or less, else 2 x."""
    from onnx import GraphProto, TensorProto, helper, numpy_helper

    def branch(op: str, name: str) -> GraphProto:
        result = helper.make_empty_tensor_value_info(name)
        constant = numpy_helper.from_array(np.float32(1 if op == "Add" else 2), name + "c")
        node = helper.make_node(op, ["x", name + "c"], [name], name + "n")
        return helper.make_graph([node], name, [], [result], [constant])

    nodes = [
        helper.make_node("Greater", ["mode", "zero"], ["condition"]),
        helper.make_node(
            "If",
            ["condition"],
            ["y"],
            then_branch=branch("Mul", "double"),
            else_branch=branch("Add", "more"),
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [3]),
            helper.make_tensor_value_info("mode", TensorProto.INT64, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])],
        [numpy_helper.from_array(np.int64(0), "zero")],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def test_a_branch_is_chosen_once_for_each_content_of_its_input() -> None:
    session = luthier.InferenceSession(switched_model(), records=None)
    x = np.arange(3, dtype=np.float32)
    for mode in (1, 0, 1):
        feeds = {"x": x, "mode": np.int64(mode)}
        np.testing.assert_array_equal(session.run(None, feeds)[0], 2 * x if mode else x + 1)
        assert [n.backend for n in session.plan(feeds).nodes] == ["native"]


def test_a_branch_is_chosen_in_each_run_where_its_input_has_many_contents() -> None:
    session = luthier.InferenceSession(switched_model(), records=None)
    x = np.arange(3, dtype=np.float32)
    for mode in range(-6, 7):
        feeds = {"x": x, "mode": np.int64(mode)}
        np.testing.assert_array_equal(session.run(None, feeds)[0], 2 * x if mode > 0 else x + 1)
    assert "If" in [n.op for n in session.plan(feeds).nodes]
    assert session.plan(feeds) is session.plan({**feeds, "mode": np.int64(99)})


def one_node(op: str, feeds: dict[str, np.ndarray], *inputs: str, **attrs: object) -> bytes:
    """A model of one node whose inputs are all fed."""
    from onnx import helper

    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in feeds.items()
    ]
    node = helper.make_node(op, list(inputs or feeds), ["y"], op, **attrs)
    graph = helper.make_graph([node], "g", infos, [helper.make_empty_tensor_value_info("y")])
    opset = [helper.make_opsetid("", 21)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()


def test_scales_that_are_an_input() -> None:
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    feeds = {"x": x, "s": np.array([1, 1, 2, 2], np.float32)}
    model = one_node("Resize", feeds, "x", "", "s", mode="nearest")
    session = luthier.InferenceSession(model, records=None)
    for factor in (2, 3, 2):
        feeds["s"] = np.array([1, 1, factor, 1], np.float32)
        np.testing.assert_array_equal(session.run(None, feeds)[0], x.repeat(factor, 2))


@pytest.mark.parametrize("dtype", [object, np.str_])
def test_strings_as_inputs_and_outputs(dtype: type) -> None:
    words = np.array([["a", "bc"], ["", "d"]], dtype)
    for op, want in (("Identity", words), ("StringConcat", words.astype(object) * 2)):
        feeds = {"x": words.astype(object)} | ({"z": words.astype(object)} if "S" in op else {})
        session = luthier.InferenceSession(one_node(op, feeds), records=None)
        (y,) = session.run(None, dict.fromkeys(feeds, words))
        assert y.dtype == object
        np.testing.assert_array_equal(y, want.astype(object))


def test_a_static_model_keeps_one_copy_of_its_weights(path: Path) -> None:
    import gc
    import weakref

    import onnx

    model = onnx.load(path)
    for info in model.graph.input:
        for dim, size in zip(info.type.tensor_type.shape.dim, (1, 3, 6, 7), strict=True):
            dim.dim_value = size
    session = luthier.InferenceSession(model.SerializeToString(), records=None)
    weights = [weakref.ref(v.data) for v in session.model.graph.values() if v.data is not None]
    x = image()
    for _ in range(2):
        np.testing.assert_allclose(
            session.run(None, {"x": x})[0], small_model.expected(x)[0], rtol=1e-5, atol=1e-5
        )
        gc.collect()
        assert [w() for w in weights] == [None] * len(weights)
    assert [i.name for i in session.get_inputs()] == ["x"]


def test_an_unsupported_static_model_says_so_in_every_run() -> None:
    feeds = {"x": np.zeros(3, np.float32)}
    session = luthier.InferenceSession(one_node("Asin", feeds), records=None, backends=["native"])
    for _ in range(2):
        with pytest.raises(luthier.UnsupportedError, match="Asin"):
            session.run(None, feeds)


def test_a_model_that_was_passed_in_is_left_alone(path: Path) -> None:
    from luthier.model import Model

    model = Model(path)
    luthier.InferenceSession(model, records=None).run(None, {"x": image()})
    assert model.graph.nodes and [v for v in model.graph.values() if v.data is not None]


def test_huge_shapes_are_refused_before_memory_is_taken() -> None:
    x = np.zeros((1,), np.float32)
    shape = np.array([1 << 20, 1 << 20])
    session = luthier.InferenceSession(one_node("Expand", {"x": x, "shape": shape}), records=None)
    with pytest.raises(luthier.LuthierError, match=r"bytes|large|limit"):
        session.run(None, {"x": x, "shape": shape})
