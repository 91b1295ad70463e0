"""Well-known networks with made-up weights: right for speed, memory and shapes, not for pictures.

    python -m luthier.bench.zoo all -o models
    luthier bench zoo:resnet50

Architectures are those of the papers, as torchvision has them (MobileNetV1: as in the paper), on
one picture of 3 x 224 x 224. Batch normalisations are nodes, and all weights follow from a seed.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx

from luthier.bench.net import Map, Net
from luthier.errors import ArgumentError

__all__ = ["MODELS", "build", "cached", "write"]

SIZE = 224
CLASSES = 1000
VERSION = 2
"""Part of the cache's name; to be raised by whatever changes a network or its weights."""


def _mobilenet_v1(net: Net) -> Map:
    """A. Howard et al., arXiv:1704.04861, table 1."""
    x = net.conv(net.input(3, SIZE), 32, 3, 2, norm=True, act="relu")
    rows = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5]
    for channels, stride in [*rows, (1024, 2), (1024, 1)]:
        x = net.conv(x, x.channels, 3, stride, groups=x.channels, norm=True, act="relu")
        x = net.conv(x, channels, 1, norm=True, act="relu")
    return net.dense(net.average(x), CLASSES)


def _inverted_residual(
    net: Net, x: Map, wide: int, out: int, kernel: int, stride: int, act: str, gate: Callable
) -> Map:
    """Widen, depthwise, gate, narrow (arXiv:1801.04381, 1905.02244)."""
    y = net.conv(x, wide, 1, norm=True, act=act) if wide != x.channels else x
    y = net.conv(y, wide, kernel, stride, groups=wide, norm=True, act=act)
    y = net.conv(gate(y), out, 1, norm=True)
    return net.add(y, x) if stride == 1 and out == x.channels else y


def _mobilenet_v2(net: Net) -> Map:
    """M. Sandler et al., arXiv:1801.04381, table 2."""
    x = net.conv(net.input(3, SIZE), 32, 3, 2, norm=True, act="relu6")
    for factor, out, layers, first_stride in [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]:
        for i in range(layers):
            stride, wide = first_stride if i == 0 else 1, factor * x.channels
            x = _inverted_residual(net, x, wide, out, 3, stride, "relu6", lambda y: y)
    return net.dense(net.average(net.conv(x, 1280, 1, norm=True, act="relu6")), CLASSES)


def _mobilenet_v3_small(net: Net) -> Map:
    """A. Howard et al., arXiv:1905.02244, table 2."""
    x = net.conv(net.input(3, SIZE), 16, 3, 2, norm=True, act="hard_swish")
    for kernel, wide, out, gated, act, stride in [
        (3, 16, 16, True, "relu", 2),
        (3, 72, 24, False, "relu", 2),
        (3, 88, 24, False, "relu", 1),
        (5, 96, 40, True, "hard_swish", 2),
        (5, 240, 40, True, "hard_swish", 1),
        (5, 240, 40, True, "hard_swish", 1),
        (5, 120, 48, True, "hard_swish", 1),
        (5, 144, 48, True, "hard_swish", 1),
        (5, 288, 96, True, "hard_swish", 2),
        (5, 576, 96, True, "hard_swish", 1),
        (5, 576, 96, True, "hard_swish", 1),
    ]:

        def gate(y: Map, gated: bool = gated) -> Map:
            inner = _divisible_by_8(y.channels / 4)
            return net.squeeze_excite(y, inner, "relu", "hard_sigmoid") if gated else y

        x = _inverted_residual(net, x, wide, out, kernel, stride, act, gate)
    x = net.average(net.conv(x, 576, 1, norm=True, act="hard_swish"))
    return net.dense(net.dense(x, 1024, act="hard_swish"), CLASSES)


def _divisible_by_8(channels: float) -> int:
    """The nearest multiple of 8 that is not more than a tenth smaller."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near if near >= 0.9 * channels else near + 8


def _efficientnet_b0(net: Net) -> Map:
    """M. Tan, Q. Le, arXiv:1905.11946, table 1."""
    x = net.conv(net.input(3, SIZE), 32, 3, 2, norm=True, act="silu")
    for factor, kernel, first_stride, out, layers in [
        (1, 3, 1, 16, 1),
        (6, 3, 2, 24, 2),
        (6, 5, 2, 40, 2),
        (6, 3, 2, 80, 3),
        (6, 5, 1, 112, 3),
        (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    ]:
        for i in range(layers):
            stride = first_stride if i == 0 else 1

            def gate(y: Map, inner: int = x.channels // 4) -> Map:
                return net.squeeze_excite(y, inner, "silu", "sigmoid")

            wide = factor * x.channels
            x = _inverted_residual(net, x, wide, out, kernel, stride, "silu", gate)
    return net.dense(net.average(net.conv(x, 1280, 1, norm=True, act="silu")), CLASSES)


def _shufflenet_v2(net: Net) -> Map:
    """N. Ma et al., arXiv:1807.11164, figure 3 and table 5, x0.5."""

    def branch(x: Map, out: int, stride: int) -> Map:
        y = net.conv(x, out, 1, norm=True, act="relu")
        y = net.conv(y, out, 3, stride, groups=out, norm=True)
        return net.conv(y, out, 1, norm=True, act="relu")

    x = net.conv(net.input(3, SIZE), 24, 3, 2, norm=True, act="relu")
    x = net.max_pool(x, pad=1)
    for channels, layers in [(48, 4), (96, 8), (192, 4)]:
        half = channels // 2
        kept = net.conv(x, x.channels, 3, 2, groups=x.channels, norm=True)
        kept = net.conv(kept, half, 1, norm=True, act="relu")
        x = net.shuffle(net.concat(kept, branch(x, half, 2)))
        for _ in range(layers - 1):
            kept, x = net.split(x)
            x = net.shuffle(net.concat(kept, branch(x, half, 1)))
    return net.dense(net.average(net.conv(x, 1024, 1, norm=True, act="relu")), CLASSES)


def _squeezenet(net: Net) -> Map:
    """F. Iandola et al., arXiv:1602.07360, in the authors' version 1.1."""
    x = net.conv(net.input(3, SIZE), 64, 3, 2, pad=0, act="relu")
    for i, (squeeze, wide) in enumerate(
        [(16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)]
    ):
        if i in (0, 2, 4):
            x = net.max_pool(x, ceil=True)
        x = net.conv(x, squeeze, 1, act="relu")
        x = net.concat(net.conv(x, wide, 1, act="relu"), net.conv(x, wide, 3, act="relu"))
    return net.flatten(net.average(net.conv(x, CLASSES, 1, act="relu")))


def _resnet(net: Net, layers: Sequence[int], bottleneck: bool) -> Map:
    """K. He et al., arXiv:1512.03385, table 1; bottlenecks have their stride at the 3x3."""
    x = net.conv(net.input(3, SIZE), 64, 7, 2, norm=True, act="relu")
    x = net.max_pool(x, pad=1)
    for stage, count in enumerate(layers):
        inner = 64 << stage
        out = 4 * inner if bottleneck else inner
        for i in range(count):
            stride = 2 if stage and i == 0 else 1
            if bottleneck:
                y = net.conv(x, inner, 1, norm=True, act="relu")
                y = net.conv(y, inner, 3, stride, norm=True, act="relu")
                y = net.conv(y, out, 1, norm=True)
            else:
                y = net.conv(x, inner, 3, stride, norm=True, act="relu")
                y = net.conv(y, out, 3, norm=True)
            same = stride == 1 and out == x.channels
            x = net.activate(
                net.add(y, x if same else net.conv(x, out, 1, stride, norm=True)), "relu"
            )
    return net.dense(net.average(x), CLASSES)


MODELS: dict[str, Callable[[Net], Map]] = {
    "mobilenet_v1": _mobilenet_v1,
    "mobilenet_v2": _mobilenet_v2,
    "mobilenet_v3_small": _mobilenet_v3_small,
    "shufflenet_v2_x0_5": _shufflenet_v2,
    "efficientnet_b0": _efficientnet_b0,
    "squeezenet1_1": _squeezenet,
    "resnet18": lambda net: _resnet(net, [2, 2, 2, 2], bottleneck=False),
    "resnet50": lambda net: _resnet(net, [3, 4, 6, 3], bottleneck=True),
}
"""Name to what adds the network's nodes and returns its output."""


def build(name: str, seed: int = 0) -> onnx.ModelProto:
    """Make one of `MODELS`.

    Parameters
    ----------
    name : str
    seed : int
        Of the weights.

    Raises
    ------
    ArgumentError
        There is no such model.

    Examples
    --------
    >>> build("squeezenet1_1").graph.input[0].name
    'input'
    """
    if name not in MODELS:
        raise ArgumentError(f"no model {name!r} in the zoo, choose from: {', '.join(MODELS)}")
    net = Net(name, seed)
    return net.model(MODELS[name](net))


def write(name: str, folder: Path) -> Path:
    """Write ``NAME.onnx`` into a folder that is made if need be, and return its path."""
    model = build(name)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.onnx"
    partial = folder / f".{name}.{os.getpid()}"  # readers never see half a file
    partial.write_bytes(model.SerializeToString(deterministic=True))
    return partial.replace(path)


def cached(name: str) -> Path:
    """The model's file in the user's cache, written if it is not there."""
    from platformdirs import user_cache_path

    folder = user_cache_path("luthier") / f"zoo-{VERSION}"
    path = folder / f"{name}.onnx"
    return path if path.exists() else write(name, folder)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="luthier.bench.zoo", description=__doc__)
    parser.add_argument("name", choices=[*MODELS, "all"])
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, default=Path())
    options = parser.parse_args(argv)
    for name in MODELS if options.name == "all" else [options.name]:
        print(write(name, options.output))


if __name__ == "__main__":
    main()
