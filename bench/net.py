"""A small language for networks as ONNX, with seeded weights that keep activations at unit scale.

The network is run on a few made-up pictures while it is built. What each layer gives there becomes
the statistics of its batch normalisation, or sets the scale of its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from luthier import kernels

__all__ = ["Map", "Net"]

OPSET = 17
IR_VERSION = 8
EPSILON = 1e-5
PICTURES = 8
DIGITS = 3
"""Digits kept of what was measured, so that rounding hardly ever shows in a weight."""

ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "hard_swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


@dataclass(frozen=True)
class Map:
    """A value of the network: its name, and its content, (pictures, channels, height, width)."""

    name: str
    data: np.ndarray

    @property
    def channels(self) -> int:
        return self.data.shape[1]

    @property
    def size(self) -> int:
        return self.data.shape[2]


class Net:
    """A network in the making.

    Every method adds nodes and returns their output.

    Parameters
    ----------
    name : str
    seed : int

    Examples
    --------
    >>> net = Net("tiny")
    >>> y = net.conv(net.input(3, 8), 4, 3, norm=True, act="relu")
    >>> y.channels, y.size
    (4, 8)
    >>> [node.op_type for node in net.model(y).graph.node]
    ['Conv', 'BatchNormalization', 'Relu']
    """

    def __init__(self, name: str, seed: int = 0) -> None:
        self.name = name
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._count = 0

    def input(self, channels: int, size: int) -> Map:
        """The one input, a picture named ``input``: numbers from 0 to 1."""
        data = self._rng.random((PICTURES, channels, size, size), np.float32)
        self._inputs = [_described("input", data)]
        return Map("input", data)

    def conv(
        self,
        x: Map,
        channels: int,
        kernel: int,
        stride: int = 1,
        *,
        groups: int = 1,
        pad: int | None = None,
        norm: bool = False,
        act: str = "",
    ) -> Map:
        """A convolution, with a bias or a batch normalisation, and an activation.

        By default it is padded such that stride 1 keeps the size.
        """
        pad = kernel // 2 if pad is None else pad
        window = {"strides": [stride, stride], "pads": [pad] * 4}
        w = self._normal(channels, x.channels // groups, kernel, kernel)
        convolve = kernels.depthwise_conv2d if groups == x.channels else kernels.conv2d
        data = convolve(x.data, w, **window)
        scale = _scale(data)
        inputs = [x.name, self._constant("weight", w * scale)]
        data *= scale
        if not norm:
            bias = self._centring_bias(data)
            inputs.append(self._constant("bias", bias))
            data += bias[:, None, None]
        attributes = {**window, "kernel_shape": [kernel, kernel], "group": groups}
        y = Map(self._node("Conv", inputs, **attributes), data)
        if norm:
            y = self._norm(y)
        return self.activate(y, act) if act else y

    def _norm(self, x: Map) -> Map:
        gamma = self._rng.uniform(0.8, 1.2, x.channels).astype(np.float32)
        beta = 0.1 * self._normal(x.channels)
        mean = _rounded(x.data.mean((0, 2, 3)))
        var = _rounded(x.data.var((0, 2, 3)) + EPSILON)
        values: dict[str, np.ndarray] = {"gamma": gamma, "beta": beta, "mean": mean, "var": var}
        inputs = [x.name, *(self._constant(k, v) for k, v in values.items())]
        slope = (gamma / np.sqrt(var + EPSILON))[:, None, None]
        data = (x.data - mean[:, None, None]) * slope + beta[:, None, None]
        return Map(self._node("BatchNormalization", inputs, epsilon=EPSILON), data)

    def activate(self, x: Map, act: str) -> Map:
        """One of `ACTIVATIONS`, as exporters write it."""
        if act == "silu":
            name = self._node("Mul", [x.name, self._node("Sigmoid", [x.name])])
        elif act == "relu6":
            low, high = (self._constant("bound", np.array(v, np.float32)) for v in (0, 6))
            name = self._node("Clip", [x.name, low, high])
        elif act == "hard_sigmoid":
            name = self._node("HardSigmoid", [x.name], alpha=1 / 6, beta=0.5)
        else:
            op = {"relu": "Relu", "hard_swish": "HardSwish", "sigmoid": "Sigmoid"}[act]
            name = self._node(op, [x.name])
        return Map(name, ACTIVATIONS[act](x.data))

    def max_pool(self, x: Map, pad: int = 0, ceil: bool = False) -> Map:
        """The largest of 3x3, stride 2."""
        window = {"strides": [2, 2], "pads": [pad] * 4}
        name = self._node("MaxPool", [x.name], **window, kernel_shape=[3, 3], ceil_mode=int(ceil))
        return Map(name, kernels.max_pool2d(x.data, (3, 3), **window, ceil_mode=ceil))

    def average(self, x: Map) -> Map:
        """The mean of each channel, 1x1."""
        return Map(self._node("GlobalAveragePool", [x.name]), x.data.mean((2, 3), keepdims=True))

    def add(self, x: Map, y: Map) -> Map:
        return Map(self._node("Add", [x.name, y.name]), x.data + y.data)

    def multiply(self, x: Map, y: Map) -> Map:
        return Map(self._node("Mul", [x.name, y.name]), x.data * y.data)

    def squeeze_excite(self, x: Map, channels: int, inner: str, outer: str) -> Map:
        """Gates from the means of all channels, through `channels` numbers (1709.01507)."""
        y = self.conv(self.average(x), channels, 1, act=inner)
        return self.multiply(x, self.conv(y, x.channels, 1, act=outer))

    def concat(self, *maps: Map) -> Map:
        name = self._node("Concat", [x.name for x in maps], axis=1)
        return Map(name, np.concatenate([x.data for x in maps], axis=1))

    def split(self, x: Map) -> tuple[Map, Map]:
        """The lower and the upper half of the channels."""
        sizes = self._shape([x.channels // 2] * 2)  # written out, as exporters do
        names = self._nodes_outputs("Split", [x.name, sizes], 2, axis=1)
        low, high = map(Map, names, np.split(x.data, 2, axis=1))
        return low, high

    def shuffle(self, x: Map) -> Map:
        """Channels of the two halves by turns (1807.11164)."""
        c, n = x.channels, x.size
        apart = [2, c // 2, n, n]
        y = self._node("Reshape", [x.name, self._shape([1, *apart])])
        y = self._node("Transpose", [y], perm=[0, 2, 1, 3, 4])
        y = self._node("Reshape", [y, self._shape([1, c, n, n])])
        data = x.data.reshape(PICTURES, *apart).swapaxes(1, 2).reshape(x.data.shape)
        return Map(y, data)

    def dense(self, x: Map, channels: int, act: str = "") -> Map:
        """A matrix over a 1x1 map, flattened if need be."""
        x = x if x.data.ndim == 2 else self.flatten(x)
        w = self._normal(channels, x.channels)
        data = x.data @ w.T
        scale = _scale(data)
        bias = 0.1 * self._normal(channels)
        inputs = [x.name, self._constant("weight", w * scale), self._constant("bias", bias)]
        y = Map(self._node("Gemm", inputs, transB=1), data * scale + bias)
        return self.activate(y, act) if act else y

    def flatten(self, x: Map) -> Map:
        return Map(self._node("Flatten", [x.name]), x.data.reshape(PICTURES, -1))

    def model(self, y: Map) -> onnx.ModelProto:
        """The network with the one output `y`."""
        output = _described(y.name, y.data)
        graph = helper.make_graph(self._nodes, self.name, self._inputs, [output], self._weights)
        return helper.make_model(
            graph,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="luthier.bench.zoo",
        )

    def _centring_bias(self, data: np.ndarray) -> np.ndarray:
        """Small numbers, less the mean of each channel; just those of a map of one pixel."""
        bias = 0.1 * self._normal(data.shape[1])
        return _rounded(bias - data.mean((0, 2, 3))) if _is_map(data) else bias

    def _normal(self, *shape: int) -> np.ndarray:
        return self._rng.standard_normal(shape, np.float32)

    def _fresh(self, stem: str) -> str:
        self._count += 1
        return f"{stem}_{self._count}"

    def _constant(self, stem: str, array: np.ndarray) -> str:
        name = self._fresh(stem)
        self._weights.append(numpy_helper.from_array(array, name))
        return name

    def _shape(self, dims: Sequence[int]) -> str:
        return self._constant("shape", np.array(dims, np.int64))

    def _node(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        return self._nodes_outputs(op, inputs, 1, **attributes)[0]

    def _nodes_outputs(
        self, op: str, inputs: Sequence[str], count: int, **attributes: Any
    ) -> list[str]:
        name = self._fresh(op)
        outputs = [name] if count == 1 else [f"{name}.{i}" for i in range(count)]
        self._nodes.append(helper.make_node(op, inputs, outputs, name, **attributes))
        return outputs


def _described(name: str, data: np.ndarray) -> onnx.ValueInfoProto:
    """The declaration of an input or output: of one picture."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *data.shape[1:]])


def _scale(data: np.ndarray) -> np.float32:
    """What gives the channels unit variance on average; a map of one pixel unit power."""
    power = np.mean(data.var((0, 2, 3)) if _is_map(data) else data**2)
    return _rounded(1 / np.sqrt(power[None] + EPSILON))[0]


def _is_map(data: np.ndarray) -> bool:
    return data[0, 0].size > 1


def _rounded(x: np.ndarray) -> np.ndarray:
    """float32 of few digits."""
    return np.array([float(f"{v:.{DIGITS}g}") for v in x], np.float32)
