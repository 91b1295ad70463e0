"""The operator chain: whatever the height of the bands, the answer is that of its stages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from guard import guarded, guarded_copy
from kernel_cases import ISAS, SIDES, assert_same_bits
from linear_cases import (
    EXACT,
    answer,
    as_rows,
    conv_config,
    depthwise_config,
    integers,
    make_inputs,
    noise,
    spread,
)

from luthier.errors import ArgumentError, KernelError
from luthier.kernels import Chain, Conv2d, DepthwiseConv2d, Runner, _kernels, fields, space
from luthier.kernels.spaces import default_config, is_legal
from luthier.target import profile

ROWS = (0, 1, 2, 3, 5, 100)
EPILOGUE = {"bias": True, "activation": "clip"}


def chain(n: int, h: int, w: int, c: int, *members: dict) -> Chain:
    """Each member reads what the one before it writes; one without k is depthwise."""
    made = []
    for sizes in members:
        kind = Conv2d if "k" in sizes else DepthwiseConv2d
        made.append(kind(n=n, h=h, w=w, c=c, **{"r": 1, "s": 1, **EPILOGUE, **sizes}))
        n, h, w, c = made[-1].out_shape
    return Chain(tuple(made))


THREE = {"r": 3, "s": 3, "pads": (1, 1, 1, 1)}
FIVE = {"r": 5, "s": 5, "pads": (2, 2, 2, 2)}
TWICE = {"strides": (2, 2)}
CHAINS = {
    "inverted residual": chain(1, 11, 7, 5, {"k": 18}, THREE, {"k": 5, "residual": True}),
    "strided": chain(2, 12, 9, 5, {"k": 18}, {**THREE, **TWICE}, {"k": 6}),
    "stem": chain(1, 21, 9, 3, {"k": 6, **THREE, **TWICE}, THREE, {"k": 4}, {"k": 7}, FIVE),
    "large windows": chain(3, 13, 8, 17, FIVE, {"k": 4}, {"k": 20, **FIVE, **TWICE}),
    "strided everywhere": chain(1, 23, 9, 4, *3 * [{**THREE, **TWICE}], {"k": 3}),
    "no padding": chain(1, 14, 9, 4, {"r": 3, "s": 3}, {"k": 5, "r": 3, "s": 2}, {"r": 2, "s": 2}),
    "asymmetric": chain(
        1, 9, 8, 3, {"k": 5, "r": 3, "s": 3, "pads": (0, 2, 2, 1)}, {**THREE, "pads": (2, 0, 1, 2)}
    ),
    "dilated": chain(
        2, 15, 9, 4, {**THREE, "pads": (2, 3, 4, 3), "dilations": (2, 3)}, {"k": 6, **THREE}
    ),
    "rows left out": chain(1, 13, 5, 4, {"k": 6}, {"k": 5, "strides": (3, 2)}, THREE),
    "groups": chain(1, 9, 7, 6, {"k": 4, "groups": 2, **THREE}, {"k": 8, "groups": 4, **TWICE}),
    "one row": chain(1, 1, 9, 4, {"k": 6}, THREE, {"k": 3, **FIVE}),
    "one pixel": chain(1, 1, 1, 1, THREE, THREE),
}


def configs(w: Chain, isa: str, algo: str) -> list[dict]:
    """A config for each member; algo where it is not pointwise."""
    return [
        depthwise_config(isa)
        if isinstance(m, DepthwiseConv2d)
        else conv_config("pointwise" if m.pointwise else algo, isa, mc=7)
        for m in w.members
    ]


class Call:
    """A chain on guarded arrays, whose rows at its ends (x, y, residual) have gaps between them."""

    def __init__(self, w: Chain, chosen: list[dict], kind=integers, side: str = "end") -> None:
        self.workload = w
        self.inputs = [make_inputs(m, seed, kind) for seed, m in enumerate(w.members)]
        self.stages = []
        for m, config, i in zip(w.members, chosen, self.inputs, strict=True):
            slots = {
                **fields.workload_fields(m),
                **fields.epilogue_fields(m.activation, EXACT[m.activation]),
                **fields.config_fields(config),
                "w": guarded_copy(fields.pack_weights(m, i.w, config), side),
                "bias": guarded_copy(i.bias, side),
            }
            self.stages.append((m.op, slots))
        shape = w.members[-1].out_shape
        x, y = as_rows(self.inputs[0].x), np.full(as_rows(np.empty(shape)).shape, -7777.0)
        self.y, self.result = spread(y.astype(np.float32), shape[-1] + 2, -7777.0, side)
        self.ends = {"x": spread(x, x.shape[1] + 3, np.nan, side)[0], "y": self.y}
        self.stages[0][1]["ldx"] = x.shape[1] + 3
        self.stages[-1][1]["ldy"] = shape[-1] + 2
        residual = self.inputs[-1].residual
        if residual is not None:
            self.ends["residual"] = spread(as_rows(residual), shape[-1] + 1, np.nan, side)[0]
            self.stages[-1][1]["ldr"] = shape[-1] + 1
        self.side = side

    def slots(self, rows: int, threads: int) -> dict:
        stages = [(op, {**slots, "threads": 1 if rows else threads}) for op, slots in self.stages]
        self.array = guarded_copy(fields.stage_array(stages))
        numbers = {"count": len(stages), "rows": rows, "threads": threads}
        slots = {**self.ends, **numbers, "stages": self.array}
        size = _kernels.work_size("chain", slots)
        slots["work"] = guarded((size,), np.uint8, self.side)
        slots["work"][...] = 0xFF  # NaN
        return slots

    def run(self, rows: int, threads: int = 1) -> np.ndarray:
        self.result[...] = -7777
        _kernels.call("chain", self.slots(rows, threads))
        marks = int((self.y == -7777).sum()) - int((self.result == -7777).sum())
        assert marks == self.y.size - self.result.size, "wrote between rows"
        return self.result.reshape(self.workload.members[-1].out_shape).copy()

    def answer(self) -> np.ndarray:
        y = self.inputs[0].x
        for m, i in zip(self.workload.members, self.inputs, strict=True):
            y = answer(m, replace(i, x=y), EXACT[m.activation])
        return y


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("w", CHAINS.values(), ids=list(CHAINS))
def test_every_height_of_bands_gives_the_answer_of_the_stages(w, isa):
    for side in SIDES:
        for algo in ("im2col", "direct"):
            call = Call(w, configs(w, isa, algo), side=side)
            expected = call.answer()
            assert np.ptp(expected) > 0 or expected.size < 9
            for rows in ROWS:
                assert np.array_equal(call.run(rows), expected), (rows, algo)


@pytest.mark.parametrize("w", CHAINS.values(), ids=list(CHAINS))
def test_the_bits_do_not_depend_on_bands_or_threads(w):
    chosen = [default_config(m) for m in w.members]
    call = Call(w, chosen, noise)
    assert_same_bits([call.run(rows, threads) for rows in ROWS for threads in (1, 2, 3, 8)])


def test_bands_need_little_memory():
    w = chain(1, 100, 9, 4, {"k": 16}, THREE, {"k": 4})
    call = Call(w, configs(w, ISAS[-1], "direct"))
    sizes = {rows: call.slots(rows, 1)["work"].size for rows in ROWS}
    line = 9 * 16 * 4
    assert sizes[0] == 2 * 100 * line
    assert {rows: size // line for rows, size in sizes.items() if rows in (1, 5)} == {1: 4, 5: 12}
    assert call.slots(5, 3)["work"].size == 3 * sizes[5]


def change(i: int, **slots: int):
    return lambda call: call.stages[i][1].update(slots)


@pytest.mark.parametrize(
    "damage",
    [
        change(1, n=2),
        change(1, ih=12),
        change(1, iw=6),
        change(1, c=17),
        change(1, ldx=19),
        change(0, oh=-1),
        change(0, ic=0),
        change(1, sh=0),
        change(1, pt=-1),
        change(1, pt=3),
        change(2, ldy=4),
        change(2, ldr=1 << 40),
        change(0, oc=1 << 40),
        change(1, isa=99),
        lambda call: call.ends.pop("x"),
        lambda call: call.ends.pop("y"),
    ],
)
@pytest.mark.parametrize("rows", [0, 2])
def test_bad_arguments_are_refused(damage, rows):
    call = Call(CHAINS["inverted residual"], configs(CHAINS["inverted residual"], "scalar", ""))
    damage(call)
    with pytest.raises(KernelError, match=r"chain: (an argument is out of range|no such variant)"):
        _kernels.call("chain", call.slots(rows, 2))


@pytest.mark.parametrize(
    "wrong",
    [{"count": 0}, {"count": 17}, {"rows": -1}, {"threads": 0}, {"stages": None}, {"work": None}],
)
def test_bad_slots_are_refused(wrong):
    call = Call(CHAINS["strided"], configs(CHAINS["strided"], "scalar", "direct"))
    args = _kernels.Args("chain", {**call.slots(2, 1), **wrong})
    with pytest.raises(KernelError, match=r"chain: (an argument is out|workspace is missing)"):
        args.run()
    call.array[0] = 99
    assert _kernels.work_size("chain", call.ends | {"stages": call.array, "count": 3}) == 0


# -- the workload ----------------------------------------------------------------------------------


def test_keys_come_back():
    for w in CHAINS.values():
        again = type(w).parse(w.key)
        assert again == w
        assert isinstance(again, Chain)


def test_sizes():
    w = CHAINS["inverted residual"]
    expand, window, project = w.members
    assert w.flops == expand.flops + window.flops + project.flops
    weights = 5 * 18 + 9 * 18 + 18 * 5
    assert w.bytes == 4 * (weights + 3 * 11 * 7 * 5)
    assert w.threads == 1


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ([0], "at least two members"),
        ([2, 1], "does not read what"),
        ([0, 1, 2, 0], "only the last member may add a residual"),
    ],
)
def test_impossible_chains_are_refused(members, text):
    every = CHAINS["inverted residual"].members
    with pytest.raises(ArgumentError, match=f"chain: .*{text}"):
        Chain(tuple(every[i] for i in members))


def test_members_have_as_many_threads_each():
    first, second = CHAINS["one pixel"].members
    with pytest.raises(ArgumentError, match="different numbers of threads"):
        Chain((first, replace(second, threads=2)))


@pytest.mark.parametrize(
    "key",
    ["chain", "chain//", "chain//gemm/f32/b1m2n3k4/packed/epi=none/t1", "chain//x//y"],
)
def test_garbage_is_refused(key):
    with pytest.raises(ArgumentError):
        Chain.parse(key)


def test_nested_chains_are_refused():
    key = CHAINS["one pixel"].key
    with pytest.raises(ArgumentError):
        Chain.parse(f"chain//{key}")


# -- the space -------------------------------------------------------------------------------------


def block(h: int, c: int, wide: int, threads: int) -> Chain:
    """An inverted residual of MobileNetV2."""
    common = {"threads": threads}
    return chain(
        1,
        h,
        h,
        c,
        {"k": wide, **common},
        {**THREE, **common},
        {"k": c, "residual": True, **common},
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_every_config_gives_the_right_answer(threads):
    w = block(20, 5, 18, threads)
    s = space("chain", w)
    assert [c["rows"] for c in s.configs] == [0, 1, 2, 4, 8, *([16] if threads == 1 else [])]
    assert s.default == {"rows": 0}
    assert all(is_legal(c, w) and Runner(w, c).check().ok for c in s.configs)
    assert not is_legal({"rows": 7}, w)
    assert not is_legal({"rows": 32}, w)


def test_bands_are_the_default_for_maps_that_leave_the_caches():
    pi4, server = profile("cortex-a72"), profile("neoverse-n1")
    assert default_config(block(7, 160, 960, 1), pi4) == {"rows": 0}
    assert default_config(block(56, 24, 144, 1), pi4)["rows"] > 1
    assert default_config(block(56, 24, 144, 1), server) == {"rows": 0}
    assert default_config(block(256, 24, 144, 1), server)["rows"] > 0
    # Strips of so few rows would do too much twice.
    assert default_config(block(256, 24, 144, 64), server) == {"rows": 0}
