"""Quantised operators, those of com.microsoft too, against ONNX Runtime; and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import luthier
from luthier.onnx_frontend import load

Feeds = dict[str, np.ndarray]
RNG = np.random.default_rng


def quantised_model(
    op: str,
    operands: list[Any],
    *,
    inputs: dict[int, str] | None = None,
    domain: str = "com.microsoft",
    out: Any = np.uint8,
    **attrs: Any,
) -> tuple[ModelProto, Feeds]:
    """A model of one node: operands are arrays (None where absent), some of them inputs."""
    inputs = inputs or {0: "x"}
    names, feeds, constants = [], {}, []
    for i, operand in enumerate(operands):
        if operand is None:
            names.append("")
        elif i in inputs:
            names.append(inputs[i])
            feeds[inputs[i]] = operand
        else:
            names.append(f"c{i}")
            constants.append(numpy_helper.from_array(np.asarray(operand), f"c{i}"))
    kinds = {k: helper.np_dtype_to_tensor_dtype(v.dtype) for k, v in feeds.items()}
    graph = helper.make_graph(
        [helper.make_node(op, names, ["y"], name="n", domain=domain, **attrs)],
        "test",
        [helper.make_tensor_value_info(k, kinds[k], v.shape) for k, v in feeds.items()],
        [helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(np.dtype(out)), None)],
        constants,
    )
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10), feeds


def check(case: tuple[ModelProto, Feeds], quanta: int = 0, tolerance: float = 0.0) -> None:
    """Every backend agrees with ONNX Runtime, within so many quanta; floats within a tolerance."""
    model, feeds = case
    data = model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    (want,) = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(
        None, feeds
    )
    for backends in (("native", "reference"), ("reference",)):
        session = luthier.InferenceSession(data, num_threads=1, records=None, backends=backends)
        (got,) = session.run(None, feeds)
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        if got.dtype.kind == "f":
            np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * np.abs(want).max())
        else:
            difference = np.abs(got.astype(np.int64) - want.astype(np.int64))
            assert difference.max() <= quanta
            assert (difference != 0).mean() <= 0.01


def bytes_of(seed: int, *shape: int, dtype: Any = np.uint8) -> np.ndarray:
    info = np.iinfo(dtype)
    return RNG(seed).integers(info.min, info.max, shape, dtype, endpoint=True)


def f32(*numbers: float) -> np.ndarray:
    return np.array(numbers if len(numbers) > 1 else numbers[0], np.float32)


DTYPES = (np.uint8, np.int8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shapes", [((2, 3, 5), (2, 3, 5)), ((2, 3, 5), (5,)), ((1, 1), (4, 3))])
@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
def test_binary(op: str, shapes: Any, dtype: Any) -> None:
    a, b = (bytes_of(i, *shape, dtype=dtype) for i, shape in enumerate(shapes))
    zeros = [np.array(z, dtype) for z in (7, 100, 13)]
    scale = 0.05 if op == "QLinearAdd" else 0.4
    operands = [a, f32(0.03), zeros[0], b, f32(0.02), zeros[1], f32(scale), zeros[2]]
    check(quantised_model(op, operands, inputs={0: "x", 3: "r"}, out=dtype), quanta=1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", ["QLinearSigmoid", "QLinearLeakyRelu"])
def test_unary(op: str, dtype: Any) -> None:
    x = bytes_of(0, 3, 86, dtype=dtype)
    attrs = {"alpha": 0.3} if op == "QLinearLeakyRelu" else {}
    scale = 1 / 256 if op == "QLinearSigmoid" else 0.07
    operands = [x, f32(0.05), np.array(99, dtype), f32(scale), np.array(5, dtype)]
    check(quantised_model(op, operands, out=dtype, **attrs), quanta=1)


@pytest.mark.parametrize("opset", [12, 13])
def test_softmax(opset: int) -> None:
    operands = [bytes_of(0, 2, 3, 40), f32(0.05), np.uint8(99), f32(1 / 256), np.uint8(0)]
    check(quantised_model("QLinearSoftmax", operands, axis=1, opset=opset), quanta=1)


def test_concat() -> None:
    scales = [(0.02, 10), (0.05, 128), (0.02, 10)]
    operands: list[Any] = [f32(0.05), np.uint8(128)]
    for i, (scale, zero) in enumerate(scales):
        operands += [bytes_of(i, 2, 3 + i, 4), f32(scale), np.uint8(zero)]
    check(quantised_model("QLinearConcat", operands, inputs={2: "a", 5: "b", 8: "c"}, axis=1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("last", [0, 1])
def test_pools(last: int, dtype: Any) -> None:
    x = bytes_of(0, 2, 7, 9, 5, dtype=dtype)
    zeros = np.array(100, dtype), np.array(30, dtype)
    operands = [x, f32(0.04), zeros[0], f32(0.03), zeros[1]]
    window = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}
    check(quantised_model("QLinearGlobalAveragePool", operands, out=dtype, channels_last=last))
    for more in ({}, {"count_include_pad": 1}, {"ceil_mode": 1}):
        case = quantised_model(
            "QLinearAveragePool", operands, out=dtype, channels_last=last, **window, **more
        )
        check(case, quanta=1)


def weights(seed: int, *shape: int, dtype: Any = np.int8, zero: bool = False) -> list[np.ndarray]:
    """Weights, a scale and a zero point for each along the first axis."""
    scale = RNG(seed).uniform(0.001, 0.003, shape[0]).astype(np.float32)
    zeros = np.zeros(shape[0], dtype)
    zeros += np.array(3 if zero else 0, dtype)
    return [bytes_of(seed + 1, *shape, dtype=dtype), scale, zeros]


@pytest.mark.parametrize(
    ("x", "w"), [(np.uint8, np.int8), (np.uint8, np.uint8), (np.int8, np.int8)]
)
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_qlinear_conv(groups: int, x: Any, w: Any) -> None:
    image = bytes_of(0, 2, 6, 9, 8, dtype=x)
    filters = weights(2, 12, 6 // groups, 3, 3, dtype=w)
    if w == np.uint8:
        filters[1:] = [f32(0.002), np.uint8(120)]
    bias = RNG(4).integers(-4000, 4000, 12, np.int32)
    operands = [image, f32(0.03), np.array(20, x), *filters, f32(0.05), np.array(60, x), bias]
    for attrs in (
        {"pads": [1, 1, 1, 1]},
        {"strides": [2, 1], "auto_pad": "SAME_UPPER"},
        {"dilations": [1, 2]},
    ):
        check(quantised_model("QLinearConv", operands, domain="", out=x, group=groups, **attrs))


@pytest.mark.parametrize("shape", [(5, 24), (2, 3, 24)])
def test_qlinear_matmul(shape: tuple[int, ...]) -> None:
    a, (w, scale, zero) = bytes_of(0, *shape), weights(1, 10, 24)
    operands = [a, f32(0.03), np.uint8(120), w.T.copy(), scale, zero, f32(0.05), np.uint8(60)]
    check(quantised_model("QLinearMatMul", operands, domain=""))


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("float_result", [False, True])
def test_qgemm(float_result: bool, transposed: int) -> None:
    a, (w, scale, zero) = bytes_of(0, 5, 24), weights(1, 10, 24, zero=True)
    b = w if transposed else w.T.copy()
    bias = RNG(4).integers(-4000, 4000, 10, np.int32)
    end = [] if float_result else [f32(0.05), np.uint8(60)]
    operands = [a, f32(0.03), np.uint8(120), b, scale, zero, bias, *end]
    out = np.float32 if float_result else np.uint8
    check(quantised_model("QGemm", operands, out=out, transB=transposed, alpha=1.25), 0, 1e-6)


def test_integer_products() -> None:
    w, _, zero = weights(1, 10, 24, dtype=np.uint8, zero=True)
    operands = [bytes_of(0, 5, 24), w.T.copy(), np.uint8(100), zero]
    check(quantised_model("MatMulInteger", operands, domain="", out=np.int32))
    w, _, _ = weights(1, 6, 3, 3, 3, dtype=np.uint8)
    operands = [bytes_of(0, 2, 3, 8, 7), w, np.uint8(100), np.uint8(7)]
    check(quantised_model("ConvInteger", operands, domain="", out=np.int32, pads=[1, 0, 1, 2]))


@pytest.mark.parametrize("op", ["DynamicQuantizeMatMul", "MatMulIntegerToFloat"])
def test_products_with_float_results(op: str) -> None:
    w, scale, zero = weights(1, 10, 24)
    bias = RNG(3).standard_normal(10).astype(np.float32)
    if op == "DynamicQuantizeMatMul":
        a = RNG(2).standard_normal((2, 5, 24)).astype(np.float32)
        operands = [a, w.T.copy(), scale, zero, bias]
    else:
        a = bytes_of(0, 2, 5, 24)
        operands = [a, w.T.copy(), f32(0.03), scale, np.uint8(120), zero, bias]
    check(quantised_model(op, operands, out=np.float32), tolerance=1e-5)


@pytest.mark.parametrize(
    ("zeros", "bits"), [("none", 4), ("none", 8), ("packed", 2), ("packed", 4), ("float", 4)]
)
def test_matmul_nbits(zeros: str, bits: int) -> None:
    n, k, block = 6, 72, 16
    blocks = -(-k // block)
    packed = bytes_of(0, n, blocks, block * bits // 8)
    scales = RNG(1).uniform(0.01, 0.02, (n, blocks)).astype(np.float32)
    zero = {
        "none": None,
        "packed": bytes_of(2, n, -(-blocks * bits // 8)),
        "float": RNG(3).uniform(5, 9, (n, blocks)).astype(np.float32),
    }[zeros]
    a = RNG(4).standard_normal((2, 3, k)).astype(np.float32)
    attrs = {"N": n, "K": k, "bits": bits, "block_size": block}
    operands = [a, packed, scales, *([] if zero is None else [zero])]
    case = quantised_model("MatMulNBits", operands, out=np.float32, **attrs)
    check(case, tolerance=1e-5)
    session = luthier.InferenceSession(case[0].SerializeToString(), num_threads=1, records=None)
    kernel = "gemm_nbits_f32" if bits <= 4 else "gemm_f32"
    assert [n.kernel.startswith(kernel) for n in session.plan(case[1]).nodes] == [True]


@pytest.mark.parametrize("block", [32, 256])
@pytest.mark.parametrize("m", [1, 40])
def test_matmul_nbits_with_a_bias_and_many_rows(m: int, block: int) -> None:
    n, k = 65, 300
    blocks = -(-k // block)
    scales = RNG(1).uniform(0.01, 0.02, (n, blocks)).astype(np.float32)
    bias = RNG(2).standard_normal(n).astype(np.float32)
    a = RNG(4).standard_normal((m, k)).astype(np.float32)
    operands = [a, bytes_of(0, n, blocks, block // 2), scales, None, None, bias]
    attrs = {"N": n, "K": k, "bits": 4, "block_size": block}
    check(quantised_model("MatMulNBits", operands, out=np.float32, **attrs), tolerance=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
@pytest.mark.parametrize("axis", [None, 0, 2])
def test_quantize_and_back(axis: int | None, dtype: str) -> None:
    x = (RNG(0).standard_normal((3, 4, 5)) * 50).astype(np.float32)
    x.flat[:4] = 1e30, -1e30, 0.25, 0.75
    count = 1 if axis is None else x.shape[axis]
    scale = RNG(1).uniform(0.1, 0.5, count).astype(np.float32)
    zero = bytes_of(2, count, dtype=dtype)
    if axis is None:
        scale, zero = scale[0], zero[0]
    attrs = {} if axis is None else {"axis": axis}
    check(quantised_model("QuantizeLinear", [x, scale, zero], domain="", out=dtype, **attrs))
    q = bytes_of(3, 3, 4, 5, dtype=dtype)
    case = quantised_model("DequantizeLinear", [q, scale, zero], domain="", out=np.float32, **attrs)
    check(case, tolerance=0)


def test_blocks() -> None:
    x = (RNG(0).standard_normal((3, 10)) * 4).astype(np.float32)
    scale = RNG(1).uniform(0.1, 0.5, (3, 3)).astype(np.float32)
    zero = bytes_of(2, 3, 3, dtype=np.int8)
    attrs: dict[str, Any] = {"domain": "", "axis": 1, "block_size": 4}
    check(quantised_model("QuantizeLinear", [x, scale, zero], out=np.int8, **attrs))
    q = bytes_of(3, 3, 10, dtype=np.int8)
    check(quantised_model("DequantizeLinear", [q, scale, zero], out=np.float32, **attrs))


def conv_operands() -> list[Any]:
    bias = np.zeros(4, np.int32)
    x, w = bytes_of(0, 1, 2, 5, 5), weights(1, 4, 2, 3, 3)
    return [x, f32(0.1), np.uint8(3), *w, f32(0.2), np.uint8(0), bias]


def altered(i: int, operand: Any) -> Callable[[], tuple[ModelProto, Feeds]]:
    def make() -> tuple[ModelProto, Feeds]:
        operands = conv_operands()
        operands[i] = operand
        return quantised_model("QLinearConv", operands, domain="")

    return make


BAD = {
    "zero scale": (altered(1, f32(0.0)), "scale 'c1' is 0.0, must be positive and finite"),
    "nan scale": (altered(4, f32(1, 2, np.nan, 4)), "scale 'c4' is nan"),
    "infinite scale": (altered(6, f32(np.inf)), "scale 'c6' is inf"),
    "negative scale": (altered(6, f32(-1.0)), "scale 'c6' is -1.0"),
    "type of zero": (altered(2, np.int8(3)), r"input 2 .* is int8 where uint8 is needed"),
    "channels": (altered(4, f32(1, 2, 3)), r"scale 'c4' has shape \[3\] where \[4\] is needed"),
    "per row": (altered(1, f32(1, 2)), r"scale 'c1' has shape \[2\] where one number is needed"),
    "bias": (altered(8, np.zeros(3, np.int32)), r"bias \[3\] does not fit 4 channels"),
    "int32 zero": (
        lambda: quantised_model(
            "DequantizeLinear",
            [np.zeros(3, np.int32), f32(0.5), np.int32(2)],
            domain="",
            out=np.float32,
        ),
        "zero point 'c2' of int32 must be 0",
    ),
    "axis": (
        lambda: quantised_model(
            "QuantizeLinear", [np.zeros((2, 3), np.float32), f32(1, 2)], domain="", axis=1
        ),
        r"scale 'c1' has shape \[2\] where \[3\] is needed",
    ),
    "blocks": (
        lambda: quantised_model(
            "QuantizeLinear",
            [np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)],
            domain="",
            axis=1,
            block_size=2,
        ),
        r"where \[2, 2\] is needed",
    ),
    "contrib arity": (
        lambda: quantised_model("QLinearAdd", [bytes_of(0, 3), f32(1.0), np.uint8(0)]),
        "has 3 inputs, the operator has 7 to 8",
    ),
    "contrib type": (
        lambda: quantised_model("QLinearSigmoid", [np.zeros(3, np.float32), *[f32(1.0)] * 4]),
        r"input 0 \(X\) may not be float32",
    ),
    "contrib attribute": (
        lambda: quantised_model("QGemm", [bytes_of(0, 2, 2), *[f32(1.0)] * 5], gamma=1.0),
        "unknown attribute 'gamma'",
    ),
    "bits": (
        lambda: quantised_model(
            "MatMulNBits",
            [np.zeros((1, 16), np.float32), np.zeros((1, 1, 6), np.uint8), f32(1.0)],
            out=np.float32,
            N=1,
            K=16,
            bits=3,
            block_size=16,
        ),
        "3 bits, must be 2, 4 or 8",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name: str) -> None:
    make, message = BAD[name]
    model, feeds = make()
    with pytest.raises(luthier.InvalidModelError, match=message) as error:
        luthier.InferenceSession(model.SerializeToString(), records=None).run(None, feeds)
    assert "node 'n'" in str(error.value) and "\n" not in str(error.value)


def test_unknown_contrib_operator() -> None:
    model, _ = quantised_model("NoSuchThing", [bytes_of(0, 3)])
    with pytest.raises(luthier.UnsupportedError, match=r"com\.microsoft\.NoSuchThing"):
        load(model.SerializeToString())


def test_every_type_is_listed() -> None:
    """INT4 weights unpack to numbers of their own dtype."""
    data = np.array([-8, 7, 1, 0], np.int8)
    packed = helper.make_tensor("w", TensorProto.INT4, [4], data.tolist())
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["d"]),
        helper.make_node("Add", ["x", "d"], ["y"]),
    ]
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in "xy"]
    scale = numpy_helper.from_array(f32(0.5), "s")
    graph = helper.make_graph(nodes, "test", info[:1], info[1:], [packed, scale])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = luthier.InferenceSession(model.SerializeToString(), records=None)
    (y,) = session.run(None, {"x": np.zeros(4, np.float32)})
    np.testing.assert_array_equal(y, data * 0.5)
