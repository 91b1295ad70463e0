"""The C executor: programs, instances and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.errors import KernelError
from luthier.graph._executor import Instance, Program
from luthier.kernels import _kernels

COUNT = 5
NEG, ABS = 1, 2


def program(*ops: int, count: int = COUNT) -> Program:
    """Unary operators from the input through the arena to the output."""
    entry, layout = _kernels.entry_points()["unary"], _kernels.OPS["unary"][1]
    steps, args, relocations = [], b"", []
    for i, op in enumerate(ops):
        start = len(args) // 8
        steps.append((entry, len(args), f"step {op}"))
        args += _kernels.Args("unary", {"op": op, "n": count, "threads": 1}).pack()
        source = (1, 0) if i == 0 else (0, 64 * (i - 1))
        target = (2, 0) if i == len(ops) - 1 else (0, 64 * i)
        for name, (buffer, offset) in (("x", source), ("y", target)):
            relocations.append((start + layout[name][0], buffer, offset))
    return Program(steps, args, relocations, 64 * len(ops), 2)


def test_runs_the_steps_in_order() -> None:
    instance = Instance(program(ABS, NEG, NEG, NEG))
    x, y = np.linspace(-1, 1, COUNT, dtype=np.float32), np.empty(COUNT, np.float32)
    instance.bind([x, y])
    instance.run(0, 4)
    np.testing.assert_array_equal(y, -np.abs(x))
    other = np.empty(COUNT, np.float32)
    instance.bind([y, other])  # bound anew
    instance.run(0, 2)
    instance.run(2, 4)
    np.testing.assert_array_equal(other, -np.abs(x))


def test_instances_have_arenas_of_their_own() -> None:
    shared = program(NEG, NEG)
    one, two = Instance(shared), Instance(shared)
    assert not np.shares_memory(one.arena, two.arena)
    assert one.arena.ctypes.data % 64 == 0 and one.arena.nbytes == shared.arena_bytes
    x, y, z = np.ones((3, COUNT), np.float32)
    one.bind([x, y])
    two.bind([2 * x, z])
    one.run(0, 1)
    two.run(0, 2)
    one.run(1, 2)
    assert (y == 1).all() and (z == 2).all()


def test_times_are_added() -> None:
    instance = Instance(program(NEG, ABS))
    instance.bind([np.ones(COUNT, np.float32), np.empty(COUNT, np.float32)])
    times = np.zeros(2)
    instance.run(0, 1, times)
    assert times[0] > 0 and times[1] == 0
    before = times.copy()
    instance.run(0, 2, times)
    assert (times > before).all()


def test_a_failing_step_is_named() -> None:
    instance = Instance(program(NEG, 99, ABS))
    instance.bind([np.ones(COUNT, np.float32), np.empty(COUNT, np.float32)])
    with pytest.raises(KernelError, match=r"^step 99: an argument is out of range$"):
        instance.run(0, 3)
    instance.run(0, 1)


def test_refuses_what_does_not_fit() -> None:
    instance = Instance(program(NEG, ABS))
    x = np.ones(COUNT, np.float32)
    with pytest.raises(ValueError, match="one array an input and output"):
        instance.bind([x])
    with pytest.raises(TypeError):
        instance.bind([x, "y"])
    for first, end in ((-1, 1), (1, 0), (0, 3)):
        with pytest.raises(ValueError, match="no such steps"):
            instance.run(first, end)
    instance.bind([x, x.copy()])
    with pytest.raises(ValueError, match="times is too short"):
        instance.run(0, 2, np.zeros(1))


def test_an_empty_program() -> None:
    instance = Instance(Program([], b"", [], 0, 0))
    instance.bind([])
    instance.run(0, 0)
    assert instance.arena.nbytes == 0
