"""Workloads: what a tunable kernel is asked to compute, apart from how.

A workload's key is its name in tuning records, and holds the thread count that may be used.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from luthier.errors import ArgumentError

__all__ = [
    "ACTIVATIONS",
    "Chain",
    "Conv2d",
    "DepthwiseConv2d",
    "Gemm",
    "Precision",
    "QConv2d",
    "QDepthwiseConv2d",
    "QGemm",
    "Quantised",
    "Workload",
]

ACTIVATIONS = (
    "none",
    "relu",
    "clip",
    "hard_sigmoid",
    "hard_swish",
    "sigmoid",
    "silu",
    "tanh",
    "gelu",
    "leaky_relu",
)
"""Activation names in the order of ``enum lt_act``."""


class Workload:
    """Base of the workloads of single operators.

    Attributes
    ----------
    bias, residual : bool
        What the epilogue adds.
    activation : str
        One of `ACTIVATIONS`; its parameters do not matter for speed and are left out.
    threads : int
        How many threads may be used.

    Examples
    --------
    >>> w = Workload.parse("conv2d/f32/n1c64h56w56/k64r3s3/st1.1/p1.1.1.1/d1.1/g1/epi=bias,relu/t2")
    >>> w.op, w.oh, w.flops
    ('conv2d', 56, 231211008)
    """

    op: ClassVar[str] = ""
    _pattern: ClassVar[re.Pattern]

    bias: bool
    residual: bool
    activation: str
    threads: int

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ArgumentError(f"{self.op}: no activation {self.activation!r}")
        self._check(1, "threads")

    def _check(self, least: int, *names: str) -> None:
        """Raise ArgumentError unless these sizes, or all members of them, are at least `least`."""
        for name in names:
            value = getattr(self, name)
            if min(value if isinstance(value, tuple) else (value,)) < least:
                raise ArgumentError(f"{self.op}: expected {name} of at least {least}, got {value}")

    @property
    def key(self) -> str:
        """The text form, which `parse` reads."""
        raise NotImplementedError

    @property
    def flops(self) -> int:
        """Floating-point operations, a multiply-add counted as two."""
        raise NotImplementedError

    @property
    def bytes(self) -> int:
        """Bytes that must be moved at least: inputs, weights and output once."""
        raise NotImplementedError

    @staticmethod
    def parse(key: str) -> Workload:
        """The workload whose key is `key`.

        Raises
        ------
        ArgumentError
            The text is not a workload's key.
        """
        for kind in _KINDS:
            match = kind._pattern.fullmatch(key)
            if match:
                workload = kind._from_match(match)
                if workload.key == key:
                    return workload
        raise ArgumentError(f"not a workload: {key!r}")


def _epilogue(bias: bool, residual: bool, activation: str) -> str:
    parts = ["bias"] * bias + ["residual"] * residual
    parts += [activation] * (activation != "none")
    return "epi=" + ",".join(parts or ["none"])


def _parse_epilogue(text: str) -> dict:
    parts = text.split(",")
    names = [p for p in parts if p not in ("bias", "residual")] or ["none"]
    if len(names) > 1 or names[0] not in ACTIVATIONS:
        raise ArgumentError(f"not an epilogue: {text!r}")
    return {"bias": "bias" in parts, "residual": "residual" in parts, "activation": names[0]}


def _key_pattern(template: str) -> re.Pattern:
    """A regular expression from one in which ``{m}`` stands for a number named m."""
    tail = r"/epi=(?P<epi>[a-z_,]+)/t{threads}"
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[0-9]{1,18})", template + tail))


@dataclass(frozen=True)
class Gemm(Workload):
    """``y[b] = act(a[b] @ w[b] + bias + residual[b])``; a is (m, k), w (k, n).

    `packed` says that w is a constant, packed ahead and shared by the batch.
    """

    m: int
    n: int
    k: int
    batch: int = 1
    packed: bool = True
    bias: bool = False
    residual: bool = False
    activation: str = "none"
    threads: int = 1

    op: ClassVar[str] = "gemm"
    _pattern: ClassVar[re.Pattern] = _key_pattern(
        "gemm/f32/b{batch}m{m}n{n}k{k}/(?P<w>packed|plain)"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(0, "m", "n", "k", "batch")

    @classmethod
    def _from_match(cls, match: re.Match) -> Gemm:
        g = match.groupdict()
        sizes: dict[str, Any] = {name: int(g[name]) for name in ("m", "n", "k", "batch", "threads")}
        return cls(**sizes, packed=g["w"] == "packed", **_parse_epilogue(g["epi"]))

    @property
    def key(self) -> str:
        return "/".join(
            (
                "gemm/f32",
                f"b{self.batch}m{self.m}n{self.n}k{self.k}",
                "packed" if self.packed else "plain",
                _epilogue(self.bias, self.residual, self.activation),
                f"t{self.threads}",
            )
        )

    @property
    def flops(self) -> int:
        return 2 * self.batch * self.m * self.n * self.k

    @property
    def bytes(self) -> int:
        weights = self.n * self.k * (1 if self.packed else self.batch)
        maps = self.m * self.k + self.m * self.n * (2 if self.residual else 1)
        return 4 * (weights + self.batch * maps)


_CONV_KEY = r"n{n}c{c}h{h}w{w}/(k{k})?r{r}s{s}/st{sh}\.{sw}/p{pt}\.{pl}\.{pb}\.{pr}/d{dh}\.{dw}"


class _Window(Workload):
    """What convolutions share: legal windows and the output size."""

    n: int
    c: int
    h: int
    w: int
    r: int
    s: int
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilations: tuple[int, int]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(0, "n", "pads")
        self._check(1, "c", "h", "w", "r", "s", "strides", "dilations")
        if min(self.oh, self.ow) < 1:
            raise ArgumentError(f"{self.op}: the window is larger than the padded input")

    @property
    def oh(self) -> int:
        pt, _, pb, _ = self.pads
        return (self.h + pt + pb - (self.r - 1) * self.dilations[0] - 1) // self.strides[0] + 1

    @property
    def ow(self) -> int:
        _, pl, _, pr = self.pads
        return (self.w + pl + pr - (self.s - 1) * self.dilations[1] - 1) // self.strides[1] + 1

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        """Shape of the output, NHWC."""
        return self.n, self.oh, self.ow, self.channels

    @property
    def channels(self) -> int:
        """Channels of the output."""
        raise NotImplementedError

    @property
    def weights(self) -> int:
        """Number of weights."""
        raise NotImplementedError

    @property
    def flops(self) -> int:
        return 2 * self.n * self.oh * self.ow * self.weights

    def _shape_key(self, out: str) -> str:
        dots = (".".join(map(str, v)) for v in (self.strides, self.pads, self.dilations))
        st, p, d = dots
        return f"n{self.n}c{self.c}h{self.h}w{self.w}/{out}r{self.r}s{self.s}/st{st}/p{p}/d{d}"

    @staticmethod
    def _window(g: dict) -> dict:
        def pick(*names: str) -> tuple[int, ...]:
            return tuple(int(g[name]) for name in names)

        return {
            **{name: int(g[name]) for name in ("n", "c", "h", "w", "r", "s", "threads")},
            "strides": pick("sh", "sw"),
            "pads": pick("pt", "pl", "pb", "pr"),
            "dilations": pick("dh", "dw"),
        }


class _Grouped(_Window):
    """What convolutions with k filters of (r, s, c / groups) share."""

    k: int
    groups: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(1, "k", "groups")
        if self.c % self.groups or self.k % self.groups:
            raise ArgumentError(
                f"{self.op}: {self.c} and {self.k} channels do not split into {self.groups} groups"
            )

    @property
    def pointwise(self) -> bool:
        """Whether it is one GEMM over all pixels."""
        return (self.r, self.s) == (1, 1) and self.strides == (1, 1) and not any(self.pads)

    @property
    def channels(self) -> int:
        return self.k

    @property
    def weights(self) -> int:
        return self.k * self.r * self.s * self.c // self.groups


@dataclass(frozen=True)
class Conv2d(_Grouped):
    """NHWC convolution of an (n, h, w, c) map with k filters of (r, s, c / groups)."""

    n: int
    c: int
    h: int
    w: int
    k: int
    r: int
    s: int
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1
    bias: bool = False
    residual: bool = False
    activation: str = "none"
    threads: int = 1

    op: ClassVar[str] = "conv2d"
    _pattern: ClassVar[re.Pattern] = _key_pattern("conv2d/f32/" + _CONV_KEY + "/g{groups}")

    @classmethod
    def _from_match(cls, match: re.Match) -> Conv2d:
        g = match.groupdict()
        if g["k"] is None:
            raise ArgumentError(f"not a workload: {match.string!r}")
        filters: dict[str, Any] = {"k": int(g["k"]), "groups": int(g["groups"])}
        return cls(**filters, **cls._window(g), **_parse_epilogue(g["epi"]))

    @property
    def key(self) -> str:
        epilogue = _epilogue(self.bias, self.residual, self.activation)
        shape = self._shape_key(f"k{self.k}")
        return f"conv2d/f32/{shape}/g{self.groups}/{epilogue}/t{self.threads}"

    @property
    def bytes(self) -> int:
        output = math.prod(self.out_shape) * (2 if self.residual else 1)
        return 4 * (self.weights + output + self.n * self.h * self.w * self.c)


@dataclass(frozen=True)
class DepthwiseConv2d(_Window):
    """NHWC depthwise convolution of an (n, h, w, c) map with one (r, s) filter a channel."""

    n: int
    c: int
    h: int
    w: int
    r: int
    s: int
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    bias: bool = False
    residual: bool = False
    activation: str = "none"
    threads: int = 1

    op: ClassVar[str] = "depthwise_conv2d"
    _pattern: ClassVar[re.Pattern] = _key_pattern("depthwise_conv2d/f32/" + _CONV_KEY)

    @classmethod
    def _from_match(cls, match: re.Match) -> DepthwiseConv2d:
        g = match.groupdict()
        return cls(**cls._window(g), **_parse_epilogue(g["epi"]))

    @property
    def key(self) -> str:
        epilogue = _epilogue(self.bias, self.residual, self.activation)
        return f"depthwise_conv2d/f32/{self._shape_key('')}/{epilogue}/t{self.threads}"

    @property
    def channels(self) -> int:
        return self.c

    @property
    def weights(self) -> int:
        return self.c * self.r * self.s

    @property
    def bytes(self) -> int:
        output = math.prod(self.out_shape) * (2 if self.residual else 1)
        return 4 * (self.weights + output + self.n * self.h * self.w * self.c)


# -- on bytes ------------------------------------------------------------------------------------

_TYPES = r"(?P<a>[us]8)(?P<wt>s8m?|s16)(?P<y>[us]8|s32|f32)"


class Quantised(Workload):
    """What the products of bytes share; see ``LT_QUANT_FIELDS`` in ``lt_ops.h``.

    Attributes
    ----------
    a, wt, y : str
        Types: of the input (``u8``, ``s8``); what the weights less their zero points fit in
        (``s8``: -127 to 127, ``s8m``: -128 to 127, ``s16``: anything); of the output (``u8``,
        ``s8``, ``s32`` for plain sums, ``f32``).
    table : bool
        Whether a table of 256 bytes is applied last.
    """

    a: str
    wt: str
    y: str
    table: bool
    activation = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(_TYPES, self.types):
            raise ArgumentError(f"{self.op}: no types {self.types!r}")
        if (self.residual or self.table) and self.y not in ("u8", "s8"):
            raise ArgumentError(f"{self.op}: a residual or table needs bytes, not {self.y}")

    @property
    def types(self) -> str:
        """The types as in the key."""
        return f"{self.a}{self.wt}{self.y}"

    @property
    def _end_key(self) -> str:
        return _epilogue(self.bias, self.residual, "table" if self.table else "none")

    @staticmethod
    def _end(g: dict) -> dict[str, Any]:
        parts = g["epi"].split(",")
        flags = {name: name in parts for name in ("bias", "residual", "table")}
        return {"a": g["a"], "wt": g["wt"], "y": g["y"], **flags}

    def _bytes(self, left: int, weights: int, output: int) -> int:
        per_output = (4 if self.y in ("s32", "f32") else 1) + self.residual
        return left + weights * (2 if self.wt == "s16" else 1) + output * per_output


@dataclass(frozen=True)
class QGemm(Quantised):
    """The matrix product of `Gemm` on bytes.

    A w that is not `packed` is known at run time only: signed bytes without zero points are
    ``s8m``, all others ``s16``.
    """

    m: int
    n: int
    k: int
    batch: int = 1
    packed: bool = True
    a: str = "u8"
    wt: str = "s8"
    y: str = "u8"
    bias: bool = False
    residual: bool = False
    table: bool = False
    threads: int = 1

    op: ClassVar[str] = "qgemm"
    _pattern: ClassVar[re.Pattern] = _key_pattern(
        f"qgemm/{_TYPES}/b{{batch}}m{{m}}n{{n}}k{{k}}/(?P<w>packed|plain)"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(0, "m", "n", "k", "batch")
        if not self.packed and self.wt == "s8":
            raise ArgumentError("qgemm: the range of plain weights is s8m or s16, not s8")

    @classmethod
    def _from_match(cls, match: re.Match) -> QGemm:
        g = match.groupdict()
        sizes: dict[str, Any] = {name: int(g[name]) for name in ("m", "n", "k", "batch", "threads")}
        return cls(**sizes, packed=g["w"] == "packed", **cls._end(g))

    @property
    def key(self) -> str:
        sizes = f"b{self.batch}m{self.m}n{self.n}k{self.k}"
        how = "packed" if self.packed else "plain"
        return f"qgemm/{self.types}/{sizes}/{how}/{self._end_key}/t{self.threads}"

    @property
    def flops(self) -> int:
        return 2 * self.batch * self.m * self.n * self.k

    @property
    def bytes(self) -> int:
        weights = self.n * self.k * (1 if self.packed else self.batch)
        return self._bytes(self.batch * self.m * self.k, weights, self.batch * self.m * self.n)


@dataclass(frozen=True)
class QConv2d(Quantised, _Grouped):
    """The convolution of `Conv2d` on bytes; padding counts as the zero point of x."""

    n: int
    c: int
    h: int
    w: int
    k: int
    r: int
    s: int
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1
    a: str = "u8"
    wt: str = "s8"
    y: str = "u8"
    bias: bool = False
    residual: bool = False
    table: bool = False
    threads: int = 1

    op: ClassVar[str] = "qconv2d"
    _pattern: ClassVar[re.Pattern] = _key_pattern(f"qconv2d/{_TYPES}/{_CONV_KEY}/g{{groups}}")

    @classmethod
    def _from_match(cls, match: re.Match) -> QConv2d:
        g = match.groupdict()
        if g["k"] is None:
            raise ArgumentError(f"not a workload: {match.string!r}")
        return cls(k=int(g["k"]), groups=int(g["groups"]), **{**cls._window(g), **cls._end(g)})

    @property
    def key(self) -> str:
        shape = self._shape_key(f"k{self.k}")
        return f"qconv2d/{self.types}/{shape}/g{self.groups}/{self._end_key}/t{self.threads}"

    @property
    def bytes(self) -> int:
        left = self.n * self.h * self.w * self.c
        return self._bytes(left, self.weights, math.prod(self.out_shape))


@dataclass(frozen=True)
class QDepthwiseConv2d(Quantised, _Window):
    """The depthwise convolution of `DepthwiseConv2d` on bytes, to bytes."""

    n: int
    c: int
    h: int
    w: int
    r: int
    s: int
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    a: str = "u8"
    wt: str = "s8"
    y: str = "u8"
    bias: bool = False
    residual: bool = False
    table: bool = False
    threads: int = 1

    op: ClassVar[str] = "qdepthwise_conv2d"
    _pattern: ClassVar[re.Pattern] = _key_pattern(f"qdepthwise_conv2d/{_TYPES}/{_CONV_KEY}")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.y not in ("u8", "s8"):
            raise ArgumentError(f"{self.op}: the output is bytes, not {self.y}")

    @classmethod
    def _from_match(cls, match: re.Match) -> QDepthwiseConv2d:
        g = match.groupdict()
        return cls(**{**cls._window(g), **cls._end(g)})

    @property
    def key(self) -> str:
        shape = self._shape_key("")
        return f"qdepthwise_conv2d/{self.types}/{shape}/{self._end_key}/t{self.threads}"

    @property
    def channels(self) -> int:
        return self.c

    @property
    def weights(self) -> int:
        return self.c * self.r * self.s

    @property
    def bytes(self) -> int:
        left = self.n * self.h * self.w * self.c
        return self._bytes(left, self.weights, math.prod(self.out_shape))


# -- chains ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chain(Workload):
    """Convolutions of which each reads what the one before it writes, and nobody else does.

    Attributes
    ----------
    members : tuple of Conv2d and DepthwiseConv2d
        At least two, with as many threads each; only the last may add a residual.

    Examples
    --------
    >>> expand = Conv2d(n=1, c=16, h=112, w=112, k=96, r=1, s=1)
    >>> window = DepthwiseConv2d(n=1, c=96, h=112, w=112, r=3, s=3, pads=(1, 1, 1, 1))
    >>> Chain((expand, window)).key.count("//")
    2
    """

    members: tuple[Conv2d | DepthwiseConv2d, ...]

    op: ClassVar[str] = "chain"
    _pattern: ClassVar[re.Pattern] = re.compile(r"chain//(?P<members>.{1,65536})")

    def __post_init__(self) -> None:
        if len(self.members) < 2:
            raise ArgumentError("chain: expected at least two members")
        for first, second in itertools.pairwise(self.members):
            if first.out_shape != (second.n, second.h, second.w, second.c):
                raise ArgumentError(f"chain: {second.key} does not read what {first.key} writes")
            if first.residual:
                raise ArgumentError("chain: only the last member may add a residual")
            if first.threads != second.threads:
                raise ArgumentError("chain: members with different numbers of threads")

    @classmethod
    def _from_match(cls, match: re.Match) -> Chain:
        members: list[Conv2d | DepthwiseConv2d] = []
        for key in match["members"].split("//"):
            member = Workload.parse(key)
            if not isinstance(member, Conv2d | DepthwiseConv2d):
                raise ArgumentError(f"chain: {key} cannot be a member")
            members.append(member)
        return cls(tuple(members))

    @property
    def key(self) -> str:
        return "//".join(("chain", *(m.key for m in self.members)))

    @property
    def threads(self) -> int:  # type: ignore[override]
        return self.members[0].threads

    @property
    def flops(self) -> int:
        return sum(m.flops for m in self.members)

    @property
    def bytes(self) -> int:
        between = sum(math.prod(m.out_shape) for m in self.members[:-1])
        return sum(m.bytes for m in self.members) - 4 * 2 * between


# -- precisions ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Precision(Workload):
    """A product of bytes that may be one of float32 between conversions just as well.

    Attributes
    ----------
    integer : QGemm, QConv2d or QDepthwiseConv2d
        With constant weights, and a result of bytes or float32.

    Examples
    --------
    >>> Precision(QGemm(m=8, n=16, k=32)).real.key
    'gemm/f32/b1m8n16k32/packed/epi=bias/t1'
    """

    integer: QGemm | QConv2d | QDepthwiseConv2d

    op: ClassVar[str] = "precision"
    _pattern: ClassVar[re.Pattern] = re.compile(r"precision//(?P<integer>.{1,8192})")

    def __post_init__(self) -> None:
        if self.integer.y == "s32" or not getattr(self.integer, "packed", True):
            raise ArgumentError(f"precision: {self.integer.key} has no counterpart of floats")

    @classmethod
    def _from_match(cls, match: re.Match) -> Precision:
        integer = Workload.parse(match["integer"])
        if not isinstance(integer, QGemm | QConv2d | QDepthwiseConv2d):
            raise ArgumentError(f"precision: {integer.key} is no product of bytes")
        return cls(integer)

    @property
    def real(self) -> Gemm | Conv2d | DepthwiseConv2d:
        """The product of float32; what follows it is done on its result."""
        q = self.integer
        kind = {QGemm: Gemm, QConv2d: Conv2d, QDepthwiseConv2d: DepthwiseConv2d}[type(q)]
        names = {field.name for field in fields(kind)} - {"bias", "residual", "activation"}
        return kind(**{name: getattr(q, name) for name in names}, bias=True)

    @property
    def members(self) -> tuple[Workload, Workload]:
        """The two workloads of which one is chosen."""
        return self.integer, self.real

    @property
    def key(self) -> str:
        return f"precision//{self.integer.key}"

    @property
    def threads(self) -> int:  # type: ignore[override]
        return self.integer.threads

    @property
    def flops(self) -> int:
        return self.integer.flops

    @property
    def bytes(self) -> int:
        return self.integer.bytes


_KINDS: tuple[type[Any], ...] = (
    Gemm,
    Conv2d,
    DepthwiseConv2d,
    QGemm,
    QConv2d,
    QDepthwiseConv2d,
    Chain,
    Precision,
)
