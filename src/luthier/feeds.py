"""Inputs for a model: made up, or read from stored test sets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from luthier import onnx_frontend
from luthier.errors import ArgumentError
from luthier.model import Model

__all__ = ["StoredSet", "example_feeds", "random_feeds", "stored_sets"]


@dataclass(frozen=True)
class StoredSet:
    """One folder with ``input_I.pb`` and ``output_I.pb``, as ONNX's backend tests have them.

    Attributes
    ----------
    path : Path
    """

    path: Path

    def inputs(self) -> list[np.ndarray]:
        """The inputs, in the model's order."""
        return self._read("input")

    def outputs(self) -> list[np.ndarray]:
        """The expected outputs, in the model's order."""
        return self._read("output")

    def feeds(self, model: Model) -> dict[str, np.ndarray]:
        """The inputs by name.

        Raises
        ------
        ArgumentError
            There are more or fewer than the model has.
        """
        names = [v.name for v in model.graph.inputs]
        arrays = self.inputs()
        if len(arrays) != len(names):
            raise ArgumentError(
                f"{self.path}: expected {len(names)} inputs of {model.name}, got {len(arrays)}"
            )
        return dict(zip(names, arrays, strict=True))

    def _read(self, kind: str) -> list[np.ndarray]:
        return [onnx_frontend.load_tensor(p) for p in _numbered(self.path, f"{kind}_*.pb")]


def _numbered(folder: Path, pattern: str) -> list[Path]:
    """Files or folders by the number that ends their stems."""

    def number(path: Path) -> int:
        digits = re.search(r"(\d+)$", path.stem)
        return int(digits[1]) if digits else -1

    return sorted(folder.glob(pattern), key=number)


def stored_sets(folder: Path) -> list[StoredSet]:
    """The test sets at `folder`: itself, the folders in it, or those beside it if it is a file."""
    if folder.is_file():
        folder = folder.parent
    if next(folder.glob("input_*.pb"), None) or next(folder.glob("output_*.pb"), None):
        return [StoredSet(folder)]
    return [StoredSet(path) for path in _numbered(folder, "test_data_set_*") if path.is_dir()]


def random_feeds(
    model: Model, shapes: Mapping[str, Sequence[int]] | None = None, seed: int = 0
) -> dict[str, np.ndarray]:
    """Made-up inputs: floats from 0 to 1, integers 0 or 1, 8-bit ones over their range.

    Raises
    ------
    ArgumentError
        A dimension is neither given nor declared, or an input is no tensor of numbers.
    """
    rng = np.random.default_rng(seed)
    known = model.shapes(shapes)
    feeds = {}
    for value in model.graph.inputs:
        dtype, shape = value.dtype, known[value.name]
        if dtype is None or dtype.kind not in "fiub":
            raise ArgumentError(f"input {value.name!r}: cannot make up a tensor of {dtype}")
        if dtype.kind == "f":
            feeds[value.name] = rng.random(shape).astype(dtype)
        elif dtype.kind in "iu" and dtype.itemsize == 1:
            low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
            feeds[value.name] = rng.integers(low, high, shape, dtype, endpoint=True)
        else:
            feeds[value.name] = rng.integers(0, 2, shape).astype(dtype)
    return feeds


def example_feeds(
    model: Model, shapes: Mapping[str, Sequence[int]] | None = None, seed: int = 0
) -> dict[str, np.ndarray]:
    """Typical inputs: made up if `shapes` are given, or else the first test set beside the model.

    Without either, made up for the declared shapes.
    """
    if not shapes and model.path is not None:
        sets = stored_sets(model.path)
        if sets:
            return sets[0].feeds(model)
    return random_feeds(model, shapes, seed)
