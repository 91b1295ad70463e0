"""Lowering: every operator with a C kernel, against ONNX's own reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from quantised_cases import QUANTISED

from luthier import onnx_frontend
from luthier.errors import UnsupportedError
from luthier.graph import Plan, bind, lower, optimize
from luthier.graph.lowering import RULES
from luthier.kernels import reference as kernel_reference

OPSET = 21
NodeSpec = tuple[str, Sequence[str], Sequence[str], dict]


def build(
    nodes: Sequence[NodeSpec],
    feeds: dict[str, np.ndarray],
    outputs: Sequence[str],
    constants: dict[str, Any] | None = None,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """A model of nodes (op, inputs, outputs, attributes) whose inputs are `feeds`."""
    graph = helper.make_graph(
        [helper.make_node(op, i, o, f"{op}{k}", **a) for k, (op, i, o, a) in enumerate(nodes)],
        "g",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in feeds.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=opsets, ir_version=10)
    )


def plan_of(model: onnx.ModelProto, feeds: dict[str, np.ndarray], threads: int = 1) -> Plan:
    shapes = {n: a.shape for n, a in feeds.items()}
    graph = optimize(bind(onnx_frontend.load(model.SerializeToString()), shapes))
    return lower(graph, num_threads=threads)


def check(
    nodes: Sequence[NodeSpec],
    feeds: dict[str, np.ndarray],
    outputs: Sequence[str],
    constants: dict[str, Any] | None = None,
    native: bool = True,
    rtol: float = 2e-5,
    opset: int = OPSET,
) -> Plan:
    """The plan gives what ONNX's reference gives, in fresh arrays; `native`: by C alone."""
    model = build(nodes, feeds, outputs, constants, opset)
    want = ReferenceEvaluator(model).run(None, feeds)
    for threads in (1, 2):
        plan = plan_of(model, feeds, threads)
        kept = {n: a.copy() for n, a in feeds.items()}
        got = plan.run(list(feeds.values()))
        again = plan.run(list(feeds.values()))
        for name, before in kept.items():
            np.testing.assert_array_equal(feeds[name], before)
        for a, b, w in zip(got, again, map(np.asarray, want), strict=True):
            assert (a.dtype, a.shape) == (w.dtype, w.shape)
            assert not np.shares_memory(a, b)
            np.testing.assert_array_equal(a, b)
            if w.dtype.kind == "f":
                scale = float(np.abs(w[np.isfinite(w)]).max(initial=1e-3))
                np.testing.assert_allclose(a, w, rtol=rtol, atol=rtol * scale)
            else:
                np.testing.assert_array_equal(a, w)
        if native:
            assert [n.reason for n in plan.nodes if n.backend != "native"] == []
    return plan


def normal(*shape: int, dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def integers(*shape: int, dtype: Any = np.int64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)


# -- operators -------------------------------------------------------------------------------------


def positive(*shape: int) -> np.ndarray:
    return np.abs(normal(*shape)) + np.float32(0.5)


def cases() -> Iterator[Any]:
    """(operator, inputs, attributes, constants): the first inputs are fed, the rest constant."""

    def case(op: str, *inputs: Any, constants: Sequence[Any] = (), name: str = "", **attrs: Any):
        return pytest.param(op, inputs, attrs, list(constants), id=f"{op}-{name}" if name else op)

    x4 = normal(2, 6, 7, 5)
    for op in ("Neg", "Abs", "Exp", "Erf", "Floor", "Ceil", "Round", "Softplus", "Sin", "Cos"):
        yield case(op, normal(3, 5, 7))
    for op in ("Sqrt", "Reciprocal", "Log"):
        yield case(op, positive(3, 5, 7))
    for op in ("Relu", "HardSigmoid", "HardSwish", "Sigmoid", "Tanh", "Gelu", "LeakyRelu"):
        yield case(op, 4 * normal(3, 5, 7))
    yield case("HardSigmoid", normal(9), alpha=0.5, beta=0.1, name="params")
    yield case("LeakyRelu", normal(9), alpha=0.3, name="alpha")
    low, high = np.float32(-0.5), np.float32(0.25)
    yield case("Clip", normal(33), constants=[low, high], name="both")
    yield case("Clip", normal(33), constants=[low], name="low")
    yield case("Relu", np.float32(-2).reshape(()), name="scalar")
    shapes = {
        "same": ((2, 3, 4), (2, 3, 4)),
        "row": ((2, 3, 4), (4,)),
        "column": ((2, 3, 1), (3, 4)),
        "both": ((2, 1, 4, 1), (3, 1, 5)),
        "scalar": ((), (3, 2)),
        "deep": ((2, 1, 2, 1, 2, 1, 2), (1, 3, 1, 3, 1, 3, 1)),
    }
    for name, (a, b) in shapes.items():
        native_ops = ("Add", "Sub", "Mul", "Div", "Equal", "Less", "Greater", "Max", "Min")
        for op in native_ops if name in ("both", "scalar") else ("Add", "Sub"):
            if name == "deep" and op == "Sub":
                continue  # one of a rank that only the reference runs is enough
            yield case(op, normal(*a), positive(*b), name=name)
    yield case("Pow", positive(3, 4), normal(4, seed=1))
    yield case("Max", normal(3, 4), name="one")
    yield case("Min", normal(3, 4), normal(4, seed=1), normal(3, 1, seed=2), name="three")
    for dtype in (np.float32, np.int64, np.uint8):
        condition = integers(3, 1) > 50
        data = integers(2, 1, 4, dtype=dtype), integers(3, 4, dtype=dtype, seed=1)
        yield case("Where", condition, *data, name=np.dtype(dtype).name)
    for name, dtype, to in (
        ("f16", np.float32, TensorProto.FLOAT16),
        ("i32", np.float32, TensorProto.INT32),
        ("f64", np.int8, TensorProto.DOUBLE),
        ("bool", np.float32, TensorProto.BOOL),
        ("float", np.bool_, TensorProto.FLOAT),
    ):
        yield case("Cast", normal(5, 7).astype(dtype), to=to, name=name)
    for op in ("Softmax", "LogSoftmax"):
        for axis in (0, 1, -1):
            yield case(op, normal(3, 5, 7), axis=axis, name=str(axis))
    for axis, count in ((-1, (7,)), (1, (5, 7))):
        weights = [normal(*count), normal(*count, seed=1)]
        yield case(
            "LayerNormalization",
            normal(3, 5, 7),
            constants=weights,
            axis=axis,
            epsilon=1e-3,
            name=str(axis),
        )
    for size, beta in ((3, 0.75), (4, 0.6), (99, 0.5)):
        name = f"{size}"
        yield case(
            "LRN", normal(20, 20, 2, 3), size=size, alpha=0.5, beta=beta, bias=2.0, name=name
        )
    for op in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare"):
        for axes in ([0], [2], [0, 2], [0, 1, 2, 3], [-1, -2]):
            name = "".join(map(str, axes))
            yield case(
                "Reduce" + op, x4, constants=[np.array(axes)], keepdims=len(axes) % 2, name=name
            )
    yield case("ReduceSum", normal(1, 3, 1), constants=[np.array([0, 2])], keepdims=0, name="ones")
    yield case("ReduceMax", normal(3, 4), name="all")
    yield case("ReduceSum", normal(3, 4), noop_with_empty_axes=1, name="noop")

    # copies
    for dtype in (np.float32, np.float16, np.int64, np.bool_, np.int8):
        data = integers(2, 3, 4, 5, dtype=dtype)
        yield case("Transpose", data, perm=[0, 2, 3, 1], name=np.dtype(dtype).name)
        index = np.array([[1, -1], [0, 2]])
        yield case("Gather", data, constants=[index], axis=2, name=np.dtype(dtype).name)
    yield case("Transpose", normal(2, 3, 4), name="default")
    yield case("Reshape", normal(2, 3, 4), constants=[np.array([0, -1])])
    yield case("Flatten", normal(2, 3, 4), axis=2)
    yield case("Squeeze", normal(1, 3, 1), constants=[np.array([-1])])
    yield case("Unsqueeze", normal(3), constants=[np.array([0, 2])])
    yield case("Identity", integers(3, dtype=np.int32))
    for axis in (0, 1, -1):
        parts = [integers(*np.roll([n, 3, 4], axis), seed=n) for n in (1, 2, 5)]
        yield case("Concat", *parts, axis=axis, name=str(axis))
    yield case("Concat", normal(2, 0), normal(2, 3), axis=1, name="empty")
    slices = {
        "plain": ([1], [3], [1], [1]),
        "negative": ([-1, 3], [-100, 0], [2, 1], [-1, -2]),
        "steps": ([0, 1], [100, 100], [-1, 0], [2, 3]),
        "empty": ([2], [2], [0], [1]),
        "reversed": ([2**62], [-(2**62)], [3], [-3]),
    }
    for name, bounds in slices.items():
        yield case("Slice", normal(4, 5, 6, 7), constants=map(np.array, bounds), name=name)
    yield case("Expand", normal(3, 1), constants=[np.array([2, 1, 4])])
    for mode in ("DCR", "CRD"):
        yield case("DepthToSpace", normal(1, 12, 2, 3), blocksize=2, mode=mode, name=mode)
    yield case("SpaceToDepth", normal(1, 3, 4, 6), blocksize=2)
    pads = np.array([0, 1, 2, 0, 0, 2, 1, 3])
    for mode in ("constant", "edge", "reflect", "wrap"):
        yield case("Pad", x4, constants=[pads], mode=mode, name=mode)
    fill = [pads, np.float32(-2.5)]
    yield case("Pad", x4, constants=fill, name="value")
    yield case("Pad", x4, constants=[np.array([1, 2]), np.float32(1), np.array([2])], name="axes")
    yield case(
        "Pad", integers(3, 4), constants=[np.array([1, 0, 0, 2]), np.int64(-7)], name="int64"
    )

    # resizing
    scaled = {"up": [1, 1, 2, 3], "down": [1, 1, 0.6, 0.5], "odd": [1, 1, 1.7, 2.3]}
    modes = ("half_pixel", "asymmetric", "pytorch_half_pixel", "align_corners")
    for transform in (*modes, "half_pixel_symmetric"):
        for name, scales in scaled.items():
            given = [np.zeros(0, np.float32), np.array(scales, np.float32)]
            common = {"coordinate_transformation_mode": transform}
            label = f"{transform}-{name}"
            yield case("Resize", x4, constants=given, mode="linear", **common, name=label)
            for rounding in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"):
                attrs = {**common, "mode": "nearest", "nearest_mode": rounding}
                yield case("Resize", x4, constants=given, **attrs, name=f"{label}-{rounding}")
    sizes = [np.zeros(0, np.float32), np.zeros(0, np.float32), np.array([2, 6, 1, 11])]
    yield case("Resize", x4, constants=sizes, mode="linear", name="sizes")

    # products
    yield case("MatMul", normal(5, 7), normal(7, 3, seed=1), name="plain")
    yield case("MatMul", normal(2, 3, 5, 7), normal(2, 3, 7, 4, seed=1), name="batch")
    yield case("MatMul", normal(2, 3, 5, 7), normal(7, 4, seed=1), name="one-right")
    yield case("MatMul", normal(5, 7), normal(2, 3, 7, 4, seed=1), name="one-left")
    yield case("MatMul", normal(7), normal(7, 4, seed=1), name="row")
    yield case("MatMul", normal(2, 5, 7), normal(7, seed=1), name="column")
    yield case("MatMul", normal(7), normal(7, seed=1), name="dot")
    yield case("MatMul", normal(4, 0), normal(0, 3), name="inner-0")
    yield case("MatMul", normal(2, 5, 7), constants=[normal(7, 4, seed=1)], name="packed")
    for ta, tb in ((0, 0), (1, 0), (0, 1), (1, 1)):
        a, b = normal(*((7, 5) if ta else (5, 7))), normal(*((3, 7) if tb else (7, 3)), seed=1)
        bias = [b, normal(3, seed=2)]
        gemm = {"transA": ta, "transB": tb, "alpha": 0.5, "beta": 2.0}
        yield case("Gemm", a, constants=bias, **gemm, name=f"{ta}{tb}")

    # windows
    image = normal(2, 6, 9, 8)
    for name, group, (oc, ic), attrs in (
        ("plain", 1, (5, 6), {}),
        ("padded", 1, (5, 6), {"pads": [1, 2, 0, 1], "strides": [2, 1]}),
        ("dilated", 1, (4, 6), {"dilations": [2, 3], "auto_pad": "SAME_LOWER"}),
        ("grouped", 2, (4, 3), {"pads": [1, 1, 1, 1]}),
        ("depthwise", 6, (6, 1), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
        ("multiplier", 6, (12, 1), {}),
    ):
        weights = [normal(oc, ic, 3, 3, seed=1), normal(oc, seed=2)]
        yield case("Conv", image, constants=weights, group=group, **attrs, name=name)
    yield case("Conv", image, constants=[normal(5, 6, 1, 1)], name="pointwise")
    yield case("Conv", normal(2, 6, 9), constants=[normal(5, 6, 3)], pads=[1, 1], name="1d")
    for name, oc, kernel, attrs in (
        ("tiles", 4, (2, 2), {"strides": [2, 2]}),
        ("overlap", 4, (3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("rest", 4, (3, 3), {"strides": [2, 3], "output_padding": [1, 2]}),
        ("dilated", 4, (3, 2), {"dilations": [2, 2], "strides": [1, 2]}),
        ("same", 4, (3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        ("cut", 4, (2, 2), {"strides": [2, 2], "pads": [0, 0, 1, 1]}),
    ):
        weights = [normal(6, oc, *kernel, seed=1), normal(oc, seed=2)]
        yield case("ConvTranspose", image, constants=weights, **attrs, name=name)
    for op in ("MaxPool", "AveragePool"):
        for name, attrs in (
            ("plain", {"kernel_shape": [3, 2]}),
            ("padded", {"kernel_shape": [3, 3], "pads": [1, 1, 0, 1], "strides": [2, 2]}),
            ("ceil", {"kernel_shape": [2, 3], "strides": [2, 3], "ceil_mode": 1}),
            ("dilated", {"kernel_shape": [2, 2], "dilations": [2, 3]}),
        ):
            yield case(op, image, **attrs, name=name)
    attrs = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}
    yield case("AveragePool", image, **attrs, name="pad")


REFERENCE_ONLY = {"Add-deep", "LRN-99"}
"""Cases that no C kernel takes: seven axes that do not join, a window of 99 channels."""


@pytest.mark.parametrize(("op", "inputs", "attrs", "constants"), list(cases()))
def test_operator(
    op: str,
    inputs: Sequence[np.ndarray],
    attrs: dict,
    constants: list[Any],
    request: pytest.FixtureRequest,
) -> None:
    feeds = {f"x{i}": np.asarray(a) for i, a in enumerate(inputs)}
    fixed = {f"c{i}": a for i, a in enumerate(constants)}
    native = request.node.callspec.id not in REFERENCE_ONLY
    results = ["y"]
    check([(op, [*feeds, *fixed], results, attrs)], feeds, results, fixed, native)


@pytest.mark.parametrize("group", [2, 6])
def test_grouped_transposed_convolution(group: int) -> None:
    """Group by group, because ONNX's reference adds the wrong bias to groups."""
    image, per_group = normal(2, 6, 5, 4), 12 // group
    weights, bias = normal(6, per_group, 3, 3, seed=1), normal(12, seed=2)
    attrs = {"strides": [2, 1], "pads": [0, 1, 1, 0]}
    feeds = {"x": image}
    node = ("ConvTranspose", ["x", "w", "b"], ["y"], {**attrs, "group": group})
    (got,) = plan_of(build([node], feeds, ["y"], {"w": weights, "b": bias}), feeds).run([image])
    parts = []
    for x, w, b in zip(
        np.split(image, group, 1), np.split(weights, group), np.split(bias, group), strict=True
    ):
        one = build([(*node[:3], attrs)], {"x": x}, ["y"], {"w": w, "b": b})
        parts += ReferenceEvaluator(one).run(None, {"x": x})
    np.testing.assert_allclose(got, np.concatenate(parts, 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backends", [("native",), ("reference",)])
@pytest.mark.parametrize("size", [1, 4, 5])
def test_lrn(size: int, backends: tuple[str, ...]) -> None:
    """Against luthier's own oracle, because ONNX's takes the batch for the channels."""
    x = normal(2, 20, 5, 3)
    attrs = {"size": size, "alpha": 0.5, "beta": 0.75, "bias": 2.0}
    model = build([("LRN", ["x"], ["y"], attrs)], {"x": x}, ["y"])
    graph = optimize(bind(onnx_frontend.load(model.SerializeToString()), {"x": x.shape}))
    (y,) = lower(graph, backends=backends).run([x])
    want = kernel_reference.lrn(x.transpose(0, 2, 3, 1), size, 0.5, 0.75, 2.0)
    np.testing.assert_allclose(y, want.transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-7)


def test_pads_that_cut() -> None:
    """Negative pads, which ONNX's reference does not know."""
    feeds = {"x": normal(3, 6)}
    model = build([("Pad", ["x", "p"], ["y"], {})], feeds, ["y"], {"p": np.array([-1, 2, 0, -3])})
    plan = plan_of(model, feeds)
    assert [n.backend for n in plan.nodes] == ["native"] * len(plan.nodes)
    (y,) = plan.run([feeds["x"]])
    np.testing.assert_array_equal(y, np.pad(feeds["x"][1:, :-3], ((0, 0), (2, 0))))


def test_split() -> None:
    x = {"x": integers(2, 7, 3)}
    check([("Split", ["x", "s"], list("abc"), {"axis": 1})], x, "abc", {"s": np.array([2, 0, 5])})
    check([("Split", ["x"], list("ab"), {"axis": -2, "num_outputs": 2})], x, "ab")


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("given", ["weights", "bias", "state"])
def test_lstm(given: str, direction: str) -> None:
    d = 2 if direction == "bidirectional" else 1
    constants = {"w": normal(d, 20, 3), "r": normal(d, 20, 5, seed=1)}
    feeds, names = {"x": normal(4, 2, 3)}, ["x", "w", "r"]
    if given != "weights":
        constants["b"] = normal(d, 40, seed=2)
        names.append("b")
    if given == "state":
        feeds |= {"h": normal(d, 2, 5, seed=3), "c": normal(d, 2, 5, seed=4)}
        names += ["", "h", "c"]
    attrs = {"hidden_size": 5, "direction": direction}
    for results in (["y", "yh", "yc"], ["y"]):
        check([("LSTM", names, results, attrs)], feeds, results, constants)


def test_every_rule_has_a_case() -> None:
    tried = {parameter.values[0] for parameter in cases()} | {"Split", "LSTM"} | QUANTISED[""]
    assert set(RULES) - tried == {"Silu"}  # made by passes: see the fusions below


# -- fusions and places ----------------------------------------------------------------------------

IMAGE = {"x": normal(1, 6, 8, 8)}
WEIGHTS = {"w": normal(6, 6, 3, 3, seed=1), "b": normal(6, seed=2), "v": normal(6, 6, 1, 1, seed=3)}
CONV: NodeSpec = ("Conv", ["x", "w", "b"], ["c"], {"pads": [1, 1, 1, 1]})


@pytest.mark.parametrize(
    "tail",
    [
        [("Relu", ["c"], ["y"], {})],
        [("Sigmoid", ["c"], ["s"], {}), ("Mul", ["c", "s"], ["y"], {})],
        [("HardSwish", ["c"], ["y"], {})],
        [("Add", ["c", "x"], ["y"], {})],
        [("Add", ["x", "c"], ["a"], {}), ("Relu", ["a"], ["y"], {})],
        [("Clip", ["c", "low", "high"], ["y"], {})],
        [("Gelu", ["c"], ["y"], {})],
    ],
    ids=["relu", "silu", "hard_swish", "residual", "residual-relu", "clip", "gelu"],
)
def test_fused_convolution(tail: list[NodeSpec]) -> None:
    constants = {**WEIGHTS, "low": np.float32(0), "high": np.float32(6)}
    plan = check([CONV, *tail], IMAGE, ["y"], constants)
    assert [n.op for n in plan.nodes].count("Conv") == 1
    assert not {"Relu", "Add", "Mul", "Sigmoid", "Silu"} & {n.op for n in plan.nodes}


def test_silu_alone() -> None:
    nodes = [("Sigmoid", ["x"], ["s"], {}), ("Mul", ["x", "s"], ["y"], {})]
    assert [n.op for n in check(nodes, IMAGE, ["y"]).nodes] == ["Silu"]


def test_fused_product() -> None:
    feeds = {"x": normal(5, 7), "r": normal(5, 4, seed=3)}
    nodes = [
        ("MatMul", ["x", "w"], ["m"], {}),
        ("Add", ["m", "b"], ["n"], {}),
        ("Add", ["n", "r"], ["o"], {}),
        ("Relu", ["o"], ["y"], {}),
    ]
    plan = check(nodes, feeds, ["y"], {"w": normal(7, 4, seed=1), "b": normal(4, seed=2)})
    assert len(plan.nodes) == 1


@pytest.mark.parametrize("axis", [1, 2])
def test_concatenation_in_place(axis: int) -> None:
    """Producers write straight into the result; inputs and values read elsewhere are copied."""
    nodes: list[NodeSpec] = [
        CONV,
        ("Conv", ["x", "v"], ["d"], {}),
        ("MaxPool", ["x"], ["p"], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
        ("Concat", ["c", "d", "x", "p"], ["e"], {"axis": axis}),
        ("Relu", ["e"], ["y"], {}),
        ("Relu", ["d"], ["z"], {}),
    ]
    plan = check(nodes, IMAGE, ["y", "z"], WEIGHTS)
    copies = [n for n in plan.nodes if n.op == "Concat"]
    assert len(copies) == 2


def test_gathered_channels_in_place() -> None:
    """A Gather of channels writes straight into a concatenation; a slice is not copied."""
    nodes: list[NodeSpec] = [
        CONV,
        ("Gather", ["c", "i"], ["g"], {"axis": 1}),
        ("Conv", ["x", "v"], ["d"], {}),
        ("Concat", ["d", "g"], ["e"], {"axis": 1}),
        ("Slice", ["e", "low", "high", "one"], ["s"], {}),
        ("Conv", ["s", "v"], ["y"], {}),
        ("MaxPool", ["s"], ["z"], {"kernel_shape": [2, 2]}),
    ]
    bounds = {"low": np.array([2]), "high": np.array([8]), "one": np.array([1])}
    constants = {**WEIGHTS, **bounds, "i": np.array([3, 0, 1, 5, 5])}
    plan = check(nodes, IMAGE, ["y", "z"], constants)
    assert [n.op for n in plan.nodes if n.op in ("Concat", "Slice", "Gather")] == ["Gather"]
    check(nodes, IMAGE, ["y", "s", "e"], constants)


def test_concatenation_of_itself_and_of_constants() -> None:
    nodes: list[NodeSpec] = [CONV, ("Concat", ["c", "c", "k"], ["y"], {"axis": 1})]
    check(nodes, IMAGE, ["y"], {**WEIGHTS, "k": normal(1, 2, 8, 8, seed=5)})


def test_nested_concatenations() -> None:
    nodes: list[NodeSpec] = [
        CONV,
        ("Conv", ["x", "v"], ["d"], {}),
        ("Concat", ["c", "d"], ["e"], {"axis": 1}),
        ("Concat", ["e", "x"], ["y"], {"axis": 1}),
    ]
    check(nodes, IMAGE, ["y", "e"], WEIGHTS)
    check(nodes, IMAGE, ["y"], WEIGHTS)


@pytest.mark.parametrize("backends", [("reference",), ("reference", "native")])
def test_reference_reads_and_writes_strided_places(backends: tuple[str, ...]) -> None:
    nodes: list[NodeSpec] = [
        CONV,
        ("Conv", ["x", "v"], ["d"], {}),
        ("Relu", ["d"], ["r"], {}),
        ("Concat", ["c", "r"], ["y"], {"axis": 1}),
    ]
    model = build(nodes, IMAGE, ["y"], WEIGHTS)
    graph = optimize(bind(onnx_frontend.load(model.SerializeToString()), {}))
    (got,) = lower(graph, backends=backends).run([IMAGE["x"]])
    (want,) = ReferenceEvaluator(model).run(None, IMAGE)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_outputs_of_every_origin() -> None:
    """An input, a constant, an alias, a value read again, and one output twice."""
    feeds = {"x": integers(2, 3)}
    nodes: list[NodeSpec] = [
        ("Identity", ["x"], ["i"], {}),
        ("Identity", ["k"], ["c"], {}),
        ("Transpose", ["x"], ["t"], {}),
        ("Reshape", ["t", "s"], ["a"], {}),
        ("Flatten", ["t"], ["f"], {}),
    ]
    constants = {"k": np.arange(4.0), "s": np.array([6])}
    check(nodes, feeds, ["i", "c", "t", "a", "f"], constants)
    check(nodes, feeds, ["a", "i"], constants)


def test_empty_tensors() -> None:
    feeds = {"x": normal(0, 3)}
    nodes: list[NodeSpec] = [
        ("Relu", ["x"], ["r"], {}),
        ("MatMul", ["r", "w"], ["m"], {}),
        ("ReduceSum", ["m"], ["s"], {"keepdims": 0}),
        ("Concat", ["m", "k"], ["c"], {"axis": 0}),
    ]
    check(nodes, feeds, ["m", "s", "c"], {"w": normal(3, 2), "k": normal(4, 2)})


def test_half_precision_model() -> None:
    feeds = {"x": normal(1, 6, 8, 8, dtype=np.float16)}
    constants = {n: a.astype(np.float16) for n, a in WEIGHTS.items()}
    nodes: list[NodeSpec] = [CONV, ("Relu", ["c"], ["y"], {})]
    check(nodes, feeds, ["y"], constants, rtol=3e-3)


@pytest.mark.parametrize("constant", [False, True], ids=["data", "constant"])
@pytest.mark.parametrize(
    ("left", "right", "calls"),
    [
        ((2, 1), (1, 3), 2),
        ((2, 3), (1, 3), 2),
        ((2, 3), (3,), 2),
        ((1, 3), (2, 3), 2),
        ((2, 3), (2, 1), 2),
        ((2, 1), (2, 3), 2),
        ((2, 3, 1, 2), (3, 4, 1), 24),
        ((1, 1), (2, 3), 1),
    ],
    ids=str,
)
def test_batches_that_broadcast_in_part(
    left: tuple[int, ...], right: tuple[int, ...], calls: int, constant: bool
) -> None:
    a, b = normal(*left, 5, 7), normal(*right, 7, 4, seed=1)
    feeds, constants = ({"a": a}, {"b": b}) if constant else ({"a": a, "b": b}, {})
    nodes: list[NodeSpec] = [("MatMul", ["a", "b"], ["p"], {}), ("Relu", ["p"], ["y"], {})]
    plan = check(nodes, feeds, ["y"], constants)
    assert sum(n.kernel.startswith("gemm") for n in plan.nodes) == calls


def test_an_empty_batch_that_is_broadcast() -> None:
    feeds = {"a": normal(2, 0, 5, 7), "b": normal(1, 0, 7, 4)}
    check([("MatMul", ["a", "b"], ["y"], {})], feeds, ["y"])


def test_batches_of_too_many_products_use_the_reference() -> None:
    feeds = {"a": normal(257, 1, 1, 2), "b": normal(1, 2, 2, 1, seed=1)}
    (node,) = check([("MatMul", ["a", "b"], ["y"], {})], feeds, ["y"], native=False).nodes
    assert node.reason == "native: broadcast batches take 257 products"


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_by_data(axis: int, dtype: Any) -> None:
    for x in (normal(4, 5, 6), integers(4, 5, 6, dtype=np.int8)):
        feeds = {"x": x, "i": np.array([[0, -1, 3], [2, 2, -4]], dtype)}
        check([("Gather", ["x", "i"], ["y"], {"axis": axis})], feeds, ["y"])
    check([("Gather", ["x", "i"], ["y"], {})], {"x": normal(3), "i": np.array(-2, dtype)}, ["y"])


def test_lists_every_node_that_cannot_run() -> None:
    nodes: list[NodeSpec] = [("CumSum", ["x", "k"], ["a"], {}), ("CumSum", ["a", "k"], ["y"], {})]
    model = build(nodes, {"x": normal(3)}, ["y"], {"k": np.array(0)})
    graph = optimize(bind(onnx_frontend.load(model.SerializeToString()), {}))
    with pytest.raises(UnsupportedError, match=r"2 nodes cannot run: node 'CumSum0' .*'CumSum1'"):
        lower(graph, backends=("native",))


def test_inputs_over_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier import limits

    model = build([("Relu", ["x"], ["y"], {})], {"x": normal(1000)}, ["y"])
    graph = optimize(bind(onnx_frontend.load(model.SerializeToString()), {}))
    monkeypatch.setattr(limits, "MAX_ARENA_BYTES", 7999)
    with pytest.raises(UnsupportedError, match="inputs and outputs take 8000 bytes"):
        lower(graph)


def test_temporaries_over_the_limit_are_left_to_the_reference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from luthier import limits

    constants = {"w": normal(6, 1, 3, 3)}
    node: NodeSpec = ("ConvTranspose", ["x", "w"], ["y"], {"strides": [50, 50]})
    feeds = {"x": normal(1, 6, 8, 8)}
    check([node], feeds, ["y"], constants)
    monkeypatch.setattr(limits, "MAX_TENSOR_BYTES", 600_000)
    plan = check([node], feeds, ["y"], constants, native=False)
    reasons = [n.reason for n in plan.nodes if n.backend == "reference"]
    assert reasons == ["native: needs 2956824 bytes at once, over the limit"]


def test_a_config_that_is_not_legal_gives_way_to_the_default() -> None:
    model = build([CONV], IMAGE, ["c"], WEIGHTS)
    graph = optimize(bind(onnx_frontend.load(model.SerializeToString()), {}))
    want = lower(graph).run([IMAGE["x"]])
    legal = next(n.config for n in lower(graph).nodes if n.config)
    foreign: list[dict] = [{}, {"mr": 4}, {**legal, "mr": 10**9}, {**legal, "isa": "vector"}]
    for config in (*foreign, {**legal, "algo": ["direct"]}, {"special": 1, "owt": 2}):
        plan = lower(graph, lambda workload, config=config: (config, "exact"))
        (node,) = [n for n in plan.nodes if n.workload]
        assert (node.config, node.rung) == (legal, "default")
        np.testing.assert_array_equal(plan.run([IMAGE["x"]])[0], want[0])
    plan = lower(graph, lambda workload: (legal, "exact"))
    assert [n.rung for n in plan.nodes if n.workload] == ["exact"]
