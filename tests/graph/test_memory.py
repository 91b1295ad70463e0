"""The arena: nothing alive overlaps, and little is wasted."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.feeds import example_feeds
from luthier.graph import lower
from luthier.graph.memory import ALIGNMENT, Block, assign_offsets
from luthier.model import Model


def rounded(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def bound(blocks: list[Block]) -> int:
    """The most that is alive at one step: no placing needs less."""
    steps = {b.first for b in blocks}
    alive = ([b for b in blocks if b.first <= step <= b.last] for step in steps)
    return max((sum(rounded(b.nbytes) for b in some) for some in alive), default=0)


def check(blocks: list[Block], total: int) -> None:
    assert total >= bound(blocks)
    for i, a in enumerate(blocks):
        assert a.offset % ALIGNMENT == 0 and 0 <= a.offset <= total - rounded(a.nbytes)
        for b in blocks[:i]:
            together = a.first <= b.last and b.first <= a.last
            apart = a.offset + a.nbytes <= b.offset or b.offset + b.nbytes <= a.offset
            assert not together or apart or not a.nbytes or not b.nbytes


@pytest.mark.parametrize("seed", range(60))
def test_blocks_alive_together_never_overlap(seed: int) -> None:
    rng = random.Random(seed)
    blocks = []
    for _ in range(rng.randrange(40)):
        first = rng.randrange(20)
        size = rng.choice([0, 1, 63, 64, 65, rng.randrange(10_000)])
        blocks.append(Block(size, first, first + rng.choice([0, 1, 2, rng.randrange(20)])))
    total = assign_offsets(blocks)
    check(blocks, total)
    assert total <= sum(rounded(b.nbytes) for b in blocks)


def test_a_chain_takes_what_two_neighbours_take() -> None:
    blocks = [Block(1000 + 64 * i, i, i + 1) for i in range(30)]
    total = assign_offsets(blocks)
    check(blocks, total)
    assert total == bound(blocks)


def test_nothing_takes_nothing() -> None:
    assert assign_offsets([]) == 0


@pytest.mark.parametrize(
    "name", ["mobilenet_v2_real_ts13", "ppocrv4_det", "yolox_nano", "ultraface_rfb320"]
)
def test_arenas_of_real_models_are_close_to_the_bound(
    name: str, real_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from luthier.graph import plan

    seen: list[Block] = []

    def spy(blocks: list[Block]) -> int:
        seen.extend(blocks)
        return assign_offsets(blocks)

    monkeypatch.setattr(plan, "assign_offsets", spy)
    model = Model(real_model(name) / "model.onnx")
    made = lower(model.specialise(example_feeds(model)))
    check(seen, made.arena_bytes)
    assert made.arena_bytes <= 1.25 * bound(seen)
