"""Pieces of quantised graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
from graphs import Builder

from luthier.graph.ir import Value

MICROSOFT = "com.microsoft"


class QuantisedBuilder(Builder):
    """Adds quantisers, weights of bytes and operators of com.microsoft."""

    def bytes_input(self, name: str, *shape: int, dtype: Any = np.uint8) -> Value:
        return self.input(name, *shape, dtype=dtype)

    def by(self, scale: float = 0.1, zero: int = 7, dtype: Any = np.uint8) -> tuple[Value, Value]:
        """A scale and a zero point."""
        return self.const(scale), self.const(zero, dtype)

    def q(self, x: Value, scale: float = 0.1, zero: int = 7, dtype: Any = np.uint8) -> Value:
        return self.op("QuantizeLinear", x, *self.by(scale, zero, dtype))

    def dq(self, x: Value, scale: float = 0.1, zero: int = 7) -> Value:
        return self.op("DequantizeLinear", x, *self.by(scale, zero, x.dtype))

    def real(self, name: str, *shape: int, scale: float = 0.1, zero: int = 7) -> Value:
        """An input of bytes behind a DequantizeLinear."""
        return self.dq(self.bytes_input(name, *shape), scale, zero)

    def filters(self, *shape: int, dtype: Any = np.int8) -> Value:
        info = np.iinfo(dtype)
        return self.const(self.rng.integers(info.min, info.max + 1, shape), dtype)

    def scales(self, count: int) -> Value:
        return self.const(self.rng.uniform(0.01, 0.02, count))

    def weights(self, *shape: int, axis: int = 0) -> Value:
        """Signed weights of a scale a channel, behind a DequantizeLinear."""
        count = shape[axis]
        zero = self.const(np.zeros(count), np.int8)
        q = self.filters(*shape)
        return self.op("DequantizeLinear", q, self.scales(count), zero, axis=axis)

    def bias(self, weights: Value, x_scale: float = 0.1) -> Value:
        """A bias of int32 in the unit of the accumulator, behind a DequantizeLinear."""
        scale = weights.producer.inputs[1].data
        numbers = self.const(self.rng.integers(-99, 99, scale.size), np.int32)
        return self.op("DequantizeLinear", numbers, self.const(scale * np.float32(x_scale)), axis=0)

    def ms(self, op: str, *inputs: Value | None, **attrs: Any) -> Any:
        return self.op(op, *inputs, domain=MICROSOFT, **attrs)

    def qconv(self, x: Value, channels: int, size: int = 1, **attrs: Any) -> Value:
        """A QLinearConv with a resolved window that keeps the shape of maps."""
        attrs = {
            "kernel_shape": [size, size],
            "strides": [1, 1],
            "dilations": [1, 1],
            "pads": [size // 2] * 4,
            "group": 1,
            **attrs,
        }
        per_group = x.shape[1] // attrs["group"]
        w = self.filters(channels, per_group, size, size)
        zero = self.const(np.zeros(channels), np.int8)
        bias = self.const(self.rng.integers(-99, 99, channels), np.int32)
        return self.op(
            "QLinearConv",
            x,
            *self.by(),
            w,
            self.scales(channels),
            zero,
            *self.by(0.3, 120),
            bias,
            **attrs,
        )
