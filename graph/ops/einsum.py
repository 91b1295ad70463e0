"""Einsum."""

from __future__ import annotations

import re

from luthier.graph.ir import Node
from luthier.graph.ops.common import (
    OpInfo,
    Shape,
    TensorType,
    broadcast,
    dtype_of,
    invalid,
    require,
    shape_of,
)

_TERM = r"[A-Za-z]*(\.\.\.)?[A-Za-z]*"
_EQUATION = re.compile(rf"{_TERM}(,{_TERM})*(->{_TERM})?")


def _einsum(node: Node) -> list[TensorType]:
    equation = node.attrs["equation"].replace(" ", "")
    require(bool(_EQUATION.fullmatch(equation)), node, f"equation {equation!r} is not legal")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    require(len(terms) == len(node.inputs), node, f"equation {equation!r} has {len(terms)} terms")
    sizes: dict[str, int] = {}
    ellipsis: Shape = ()
    for i, term in enumerate(terms):
        shape = shape_of(node, i)
        head, dots, tail = term.partition("...")
        free = len(shape) - len(head) - len(tail)
        require(free >= 0 if dots else free == 0, node, f"term {term!r} does not fit {list(shape)}")
        ellipsis = broadcast(node, ellipsis, shape[len(head) : len(head) + free])
        named = (*shape[: len(head)], *shape[len(shape) - len(tail) :])
        for letter, size in zip(head + tail, named, strict=True):
            known = sizes.setdefault(letter, size)
            if size != 1 and known not in (1, size):
                raise invalid(node, f"{letter!r} is {known} and {size} in {equation!r}")
            sizes[letter] = max(known, size)
    if not arrow:
        once = sorted(c for c in sizes if left.count(c) == 1)
        right = ("..." if "..." in left else "") + "".join(once)
    head, dots, tail = right.partition("...")
    letters = head + tail
    legal = len(set(letters)) == len(letters) and set(letters) <= set(sizes)
    require(legal and (not dots or "..." in left), node, f"equation {equation!r} is not legal")
    middle = ellipsis if dots else ()
    return [(dtype_of(node, 0), (*(sizes[c] for c in head), *middle, *(sizes[c] for c in tail)))]


OPS: dict[str, OpInfo] = {"Einsum": OpInfo(_einsum, keep=True)}
