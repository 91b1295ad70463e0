"""A small interpreter of graphs in NumPy: plain operators, fused attributes, NHWC.

It is written from the operators' definitions, apart from the code that it judges; what it does
not know goes to `luthier.graph.reference`. Every result is checked against its declared type.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

import luthier.onnx_frontend  # noqa: F401  (stands behind luthier.graph.reference)
from luthier.graph import ops, reference
from luthier.graph.ir import Graph, Node

_erf = np.vectorize(math.erf, otypes=[np.float64])


def run(graph: Graph, *feeds: np.ndarray) -> list[np.ndarray]:
    """The outputs of `graph` for inputs in order."""
    env = dict(zip(graph.inputs, feeds, strict=True))
    for value, array in env.items():
        assert (array.dtype, array.shape) == (value.dtype, value.shape), value.name
    last = {v: i for i, n in enumerate(graph.nodes) for v in n.inputs}
    for i, node in enumerate(graph.nodes):
        args = [None if v is None else (env[v] if v.data is None else v.data) for v in node.inputs]
        results = _compute(node, args)
        for value, result in zip(node.outputs, results, strict=False):
            result = np.asarray(result)
            if result.dtype == np.float64 and value.dtype in (np.float32, np.float16):
                result = result.astype(value.dtype)
            assert (result.dtype, result.shape) == (value.dtype, value.shape), node
            env[value] = result
        for value in node.inputs:
            if last.get(value) == i and value not in graph.outputs:
                env.pop(value, None)
    return [env[v] if v.data is None else v.data for v in graph.outputs]


def random_feeds(graph: Graph, seed: int = 0) -> list[np.ndarray]:
    """Normal floats, any bytes, and other small ints, for every input."""
    rng = np.random.default_rng(seed)

    def feed(v):
        if v.dtype.kind == "f":
            return rng.standard_normal(v.shape).astype(v.dtype)
        least, end = (-128, 384) if v.dtype in (np.uint8, np.int8) else (0, 2)
        return rng.integers(least, end, v.shape).astype(v.dtype)

    return [feed(v) for v in graph.inputs]


def _compute(node: Node, args: list) -> list:
    info = ops.find(node)
    if info is not None and info.whole:
        return reference.evaluate(node, args)
    attrs = dict(node.attrs)
    name, params = attrs.pop("activation", None), attrs.pop("activation_params", None)
    residual = args.pop() if attrs.pop("residual", 0) else None
    nhwc = attrs.pop("layout", None) == "NHWC" and node.op != "Resize"
    if nhwc:
        args[0] = args[0].transpose(0, 3, 1, 2)
    rule = _RULES.get(node.op)
    if rule is None:
        plain = Node(node.op, node.inputs, node.outputs, attrs, node.name, node.domain, node.opset)
        return reference.evaluate(plain, args)
    results = rule(attrs, *args)
    results = list(results) if isinstance(results, list) else [results]
    if nhwc:
        results = [r.transpose(0, 2, 3, 1) for r in results]
    if residual is not None:
        results[0] = results[0] + residual
    if name is not None:
        results[0] = _activate(name, results[0], *params)
    return results


def _activate(name: str, x: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    x = x.astype(np.float64)
    if name == "relu":
        return np.maximum(x, 0)
    if name == "clip":
        return np.clip(x, alpha, beta)
    if name == "hard_sigmoid":
        return np.clip(alpha * x + beta, 0, 1)
    if name == "hard_swish":
        return x * np.clip(x / 6 + 0.5, 0, 1)
    if name == "sigmoid":
        return 1 / (1 + np.exp(-x))
    if name == "silu":
        return x / (1 + np.exp(-x))
    if name == "tanh":
        return np.tanh(x)
    if name == "gelu":
        return x * (1 + _erf(x / math.sqrt(2))) / 2
    assert name == "leaky_relu", name
    return np.where(x < 0, alpha * x, x)


# -- windows -----------------------------------------------------------------------------------


def _geometry(attrs: dict, image: tuple, kernel: tuple) -> tuple[list, list, list]:
    rank = len(image)
    strides = list(attrs.get("strides") or [1] * rank)
    dilations = list(attrs.get("dilations") or [1] * rank)
    pads = list(attrs.get("pads") or [0] * 2 * rank)
    mode = attrs.get("auto_pad", "NOTSET")
    if mode.startswith("SAME"):
        for i in range(rank):
            extent = (kernel[i] - 1) * dilations[i] + 1
            total = max((math.ceil(image[i] / strides[i]) - 1) * strides[i] + extent - image[i], 0)
            small, large = total // 2, total - total // 2
            pads[i], pads[rank + i] = (small, large) if mode == "SAME_UPPER" else (large, small)
    return strides, dilations, pads


def _windows(x: np.ndarray, kernel: tuple, strides: list, dilations: list) -> np.ndarray:
    """(N, C, positions..., kernel...)"""
    rank = len(kernel)
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(x, extents, tuple(range(2, 2 + rank)))
    steps = [slice(None)] * 2 + [slice(None, None, s) for s in [*strides, *dilations]]
    return view[tuple(steps)]


def _padded(x: np.ndarray, pads: list, fill: float = 0) -> np.ndarray:
    rank = len(pads) // 2
    widths = [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)]
    return np.pad(x, widths, constant_values=fill)


def _conv(attrs: dict, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    rank, groups = w.ndim - 2, attrs.get("group", 1)
    strides, dilations, pads = _geometry(attrs, x.shape[2:], w.shape[2:])
    windows = _windows(_padded(x, pads), w.shape[2:], strides, dilations)
    axes = tuple(range(2 + rank, 2 + 2 * rank))
    taps = tuple(range(2, 2 + rank))
    if groups == x.shape[1] == w.shape[0]:
        y = np.zeros((*windows.shape[:2], *windows.shape[2 : 2 + rank]), x.dtype)
        for tap in itertools.product(*map(range, w.shape[2:])):
            y += windows[(..., *tap)] * w[(slice(None), 0, *tap)].reshape(-1, *[1] * rank)
    else:
        ic, oc = x.shape[1] // groups, w.shape[0] // groups
        parts = [
            np.moveaxis(
                np.tensordot(
                    windows[:, g * ic : (g + 1) * ic],
                    w[g * oc : (g + 1) * oc],
                    ((1, *axes), (1, *taps)),
                ),
                -1,
                1,
            )
            for g in range(groups)
        ]
        y = np.concatenate(parts, 1)
    return y if bias is None else y + bias.reshape(-1, *[1] * rank)


def _conv_transpose(
    attrs: dict, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None
) -> np.ndarray:
    """Scatter: every input pixel adds the kernel to the output."""
    kernel, groups, image = w.shape[2:], attrs.get("group", 1), x.shape[2:]
    rank = len(kernel)
    strides, dilations, pads = _geometry({**attrs, "auto_pad": "NOTSET"}, image, kernel)
    extra = list(attrs.get("output_padding") or [0] * rank)
    full = [
        (i - 1) * s + (k - 1) * d + 1 + e
        for i, s, k, d, e in zip(image, strides, kernel, dilations, extra, strict=True)
    ]
    asked = attrs.get("output_shape")
    mode = attrs.get("auto_pad", "NOTSET")
    if mode.startswith("SAME") and not asked:
        asked = [i * s for i, s in zip(image, strides, strict=True)]
    if asked:
        total = [f - a for f, a in zip(full, asked, strict=True)]
        small, large = [t // 2 for t in total], [t - t // 2 for t in total]
        pads = small + large if mode == "SAME_UPPER" else large + small
    ic, oc = x.shape[1] // groups, w.shape[1]
    y = np.zeros((x.shape[0], oc * groups, *full), x.dtype)
    for g, tap in itertools.product(range(groups), itertools.product(*map(range, kernel))):
        weights = w[(slice(g * ic, (g + 1) * ic), slice(None), *tap)]
        product = np.einsum("nc...,co->no...", x[:, g * ic : (g + 1) * ic], weights)
        place = [
            slice(t * d, t * d + (i - 1) * s + 1, s)
            for t, d, i, s in zip(tap, dilations, image, strides, strict=True)
        ]
        y[(slice(None), slice(g * oc, (g + 1) * oc), *place)] += product
    crop = [slice(pads[i], full[i] - pads[rank + i]) for i in range(rank)]
    y = y[(slice(None), slice(None), *crop)]
    return y if bias is None else y + bias.reshape(-1, *[1] * rank)


def _pool(attrs: dict, x: np.ndarray, average: bool) -> np.ndarray:
    kernel = tuple(attrs["kernel_shape"])
    rank = len(kernel)
    strides, dilations, pads = _geometry(attrs, x.shape[2:], kernel)
    last = [0] * 2 * rank
    counts = [None] * rank
    if attrs.get("ceil_mode"):
        for i, size in enumerate(x.shape[2:]):
            extent = (kernel[i] - 1) * dilations[i] + 1
            room = size + pads[i] + pads[rank + i] - extent
            count = -(-room // strides[i]) + 1
            if (count - 1) * strides[i] >= size + pads[i]:
                count -= 1
            counts[i] = count
            last[rank + i] = max((count - 1) * strides[i] - room, 0)
    axes = tuple(range(-rank, 0))
    positions = (..., *[slice(0, count) for count in counts])
    if not average:
        least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        image = _padded(_padded(x, pads, least), last, least)
        return _windows(image, kernel, strides, dilations).max(axes)[positions]
    counted = _padded(np.ones_like(x), pads, 1.0 if attrs.get("count_include_pad") else 0.0)
    shares = _windows(_padded(counted, last), kernel, strides, dilations).sum(axes)
    image = _padded(_padded(x, pads), last)
    sums = _windows(image, kernel, strides, dilations).sum(axes)
    return sums[positions] / shares[positions]


# -- the rest ------------------------------------------------------------------------------------


def _batch_norm(attrs: dict, x, scale, bias, mean, variance) -> np.ndarray:
    scale, bias, mean, variance = (
        p.astype(np.float64).reshape(-1, *[1] * (x.ndim - 2)) for p in (scale, bias, mean, variance)
    )
    return (x - mean) / np.sqrt(variance + attrs.get("epsilon", 1e-5)) * scale + bias


def _layer_norm(attrs: dict, x, scale, bias=None) -> np.ndarray:
    axes = tuple(range(attrs.get("axis", -1) % x.ndim, x.ndim))
    x = x.astype(np.float64)
    x = x - x.mean(axes, keepdims=True)
    y = x / np.sqrt((x * x).mean(axes, keepdims=True) + attrs.get("epsilon", 1e-5)) * scale
    return y if bias is None else y + bias


def _gemm(attrs: dict, a, b, c=None) -> np.ndarray:
    a = a.T if attrs.get("transA") else a
    b = b.T if attrs.get("transB") else b
    y = attrs.get("alpha", 1.0) * (a @ b)
    return y if c is None else y + attrs.get("beta", 1.0) * c


def _matmul(attrs: dict, a, b, bias=None) -> np.ndarray:
    return a @ b if bias is None else a @ b + bias


def _reduce(function):
    def rule(attrs: dict, x, axes=None):
        axes = tuple(range(x.ndim)) if axes is None else tuple(int(a) for a in axes)
        return function(x.astype(np.float64), axes, bool(attrs.get("keepdims", 1)))

    return rule


def _clip(attrs: dict, x, low=None, high=None) -> np.ndarray:
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def _pad(attrs: dict, x, pads, fill=None, axes=None) -> np.ndarray:
    axes = range(x.ndim) if axes is None else axes
    widths = [(0, 0)] * x.ndim
    for i, axis in enumerate(axes):
        widths[axis] = (int(pads[i]), int(pads[len(pads) // 2 + i]))
    mode = attrs.get("mode", "constant")
    if mode != "constant":
        return np.pad(x, widths, {"reflect": "reflect", "edge": "edge"}[mode])
    return np.pad(x, widths, constant_values=0 if fill is None else fill.item())


def _softmax(attrs: dict, x) -> np.ndarray:
    axis = attrs.get("axis", -1)
    e = np.exp(x - x.max(axis, keepdims=True), dtype=np.float64)
    return e / e.sum(axis, keepdims=True)


def _split(attrs: dict, x, sizes=None) -> list:
    axis = attrs.get("axis", 0)
    if sizes is None:
        return np.array_split(x, attrs["num_outputs"], axis)
    return np.split(x, np.cumsum(sizes)[:-1], axis)


def _resize(attrs: dict, x, roi=None, scales=None, sizes=None) -> np.ndarray:
    """Nearest with the asymmetric map, rounding down: source pixel floor(i / scale)."""
    assert attrs["mode"] == "nearest" and attrs["nearest_mode"] == "floor"
    assert attrs["coordinate_transformation_mode"] == "asymmetric"
    if scales is None:
        scales = [s / d for s, d in zip(sizes, x.shape, strict=True)]
    for axis, scale in enumerate(scales):
        if scale != 1:
            count = math.floor(x.shape[axis] * float(scale))
            index = np.floor(np.arange(count) / float(scale)).astype(int)
            x = x.take(np.minimum(index, x.shape[axis] - 1), axis)
    return x


def _cast(attrs: dict, x) -> np.ndarray:
    return x.astype({1: np.float32, 6: np.int32, 7: np.int64, 10: np.float16}[attrs["to"]])


def _activation(name: str, alpha: float = 0, beta: float = 0):
    return lambda attrs, x: _activate(name, x, attrs.get("alpha", alpha), attrs.get("beta", beta))


def _variadic(function):
    return lambda attrs, *xs: list(itertools.accumulate(xs, function))[-1]


_RULES = {
    "Add": lambda attrs, a, b: a + b,
    "AveragePool": lambda attrs, x: _pool(attrs, x, True),
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Div": lambda attrs, a, b: a / b,
    "Dropout": lambda attrs, x, *rest: x,
    "Erf": lambda attrs, x: _erf(x),
    "Exp": lambda attrs, x: np.exp(x),
    "Gelu": _activation("gelu"),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda attrs, x: x.mean(tuple(range(2, x.ndim)), keepdims=True),
    "GlobalMaxPool": lambda attrs, x: x.max(tuple(range(2, x.ndim)), keepdims=True),
    "HardSigmoid": _activation("hard_sigmoid", 0.2, 0.5),
    "HardSwish": _activation("hard_swish"),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": _activation("leaky_relu", 0.01),
    "Log": lambda attrs, x: np.log(x),
    "MatMul": _matmul,
    "Max": _variadic(np.maximum),
    "MaxPool": lambda attrs, x: _pool(attrs, x, False),
    "Mean": lambda attrs, *xs: sum(xs) / len(xs),
    "Min": _variadic(np.minimum),
    "Mul": lambda attrs, a, b: a * b,
    "PRelu": lambda attrs, x, slope: np.where(x < 0, x * slope, x),
    "Pad": _pad,
    "Pow": lambda attrs, a, b: a**b,
    "Reciprocal": lambda attrs, x: 1 / x,
    "ReduceMax": _reduce(lambda x, axes, keep: x.max(axes, keepdims=keep)),
    "ReduceMean": _reduce(lambda x, axes, keep: x.mean(axes, keepdims=keep)),
    "ReduceMin": _reduce(lambda x, axes, keep: x.min(axes, keepdims=keep)),
    "ReduceSum": _reduce(lambda x, axes, keep: x.sum(axes, keepdims=keep)),
    "Relu": _activation("relu"),
    "Resize": _resize,
    "Sigmoid": _activation("sigmoid"),
    "Silu": _activation("silu"),
    "Softmax": _softmax,
    "Split": _split,
    "Sqrt": lambda attrs, x: np.sqrt(x),
    "Sub": lambda attrs, a, b: a - b,
    "Sum": _variadic(np.add),
    "Tanh": _activation("tanh"),
    "Where": lambda attrs, c, a, b: np.where(c, a, b),
}
