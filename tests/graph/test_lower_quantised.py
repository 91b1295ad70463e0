"""Quantised operators: the kernels give the very bytes of the reference."""

from __future__ import annotations

from collections.abc import Callable

import interp
import numpy as np
import pytest
from quantised_cases import CASES, QUANTISED
from quantised_graphs import QuantisedBuilder

from luthier.graph import lower
from luthier.graph.ir import Graph


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("build", CASES, ids=lambda f: f.__name__)
def test_same_bytes(build: Callable[[], Graph], threads: int) -> None:
    graph = build()
    for seed in range(2):
        feeds = interp.random_feeds(graph, seed)
        want = lower(graph, backends=("reference",)).run(feeds)
        got = lower(graph, num_threads=threads, backends=("native",)).run(feeds)
        for a, b in zip(got, want, strict=True):
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            np.testing.assert_array_equal(a, b)


def test_every_rule_has_a_case() -> None:
    tried: dict[str, set[str]] = {}
    for build in CASES:
        for node in build().nodes:
            tried.setdefault(node.domain, set()).add(node.op)
    for domain, operators in QUANTISED.items():
        assert operators <= tried[domain]


def test_what_kernels_do_not_know_goes_to_the_reference() -> None:
    b = QuantisedBuilder()
    scale = b.input("scale")
    graph = b.done(b.op("QuantizeLinear", b.input("x", 3, 4), scale, b.const(0, np.uint8)))
    (node,) = lower(graph).nodes
    assert (node.backend, node.reason) == ("reference", "native: a scale is not constant")
