"""Sample inputs for calibration, read one at a time and checked."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from luthier import onnx_frontend
from luthier.errors import ArgumentError, InvalidModelError
from luthier.feeds import stored_sets
from luthier.graph import Value
from luthier.model import Model
from luthier.picture import channel_axis, load_picture

__all__ = ["Pixels", "Samples", "open_samples"]

PICTURES = (".png", ".jpg", ".jpeg")
SUFFIXES = (".npy", ".npz", ".pb", *PICTURES)

Feeds = dict[str, np.ndarray]


@dataclass(frozen=True)
class Pixels:
    """How pixels from 0 to 255 become numbers: ``(pixel * scale - mean) / std``.

    Attributes
    ----------
    scale : float
    mean, std : tuple of float
        One number, or one a channel; numbers of `std` are not 0.

    Raises
    ------
    ArgumentError
        A number is not finite, or divides and is 0.

    Examples
    --------
    >>> Pixels(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    Pixels(scale=0.00392156862745098, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    """

    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        for name, numbers in (("scale", (self.scale,)), ("mean", self.mean), ("std", self.std)):
            for number in numbers:
                if not math.isfinite(number) or (name == "std" and number == 0):
                    wanted = "finite and not 0" if name == "std" else "finite"
                    raise ArgumentError(f"{name} of pixels must be {wanted}, got {number}")

    def load(self, path: Path, value: Value) -> np.ndarray:
        """The picture in `path` for the input `value`.

        Raises
        ------
        ArgumentError
            As `luthier.picture.load_picture`; also if mean or std do not fit the channels.
        """
        picture = load_picture(path, value)
        if picture.dtype.kind != "f":
            return picture
        axis = channel_axis(value.shape)
        assert axis is not None  # or there would be no picture
        shape = [1, 1, 1, 1]
        for numbers in (self.mean, self.std):
            if len(numbers) not in (1, picture.shape[axis]):
                raise ArgumentError(
                    f"{path}: mean and std need 1 or {picture.shape[axis]} numbers for input"
                    f" {value.name!r}, got {len(numbers)}"
                )
        shape[axis] = -1
        mean, std = (np.reshape(n, shape) for n in (self.mean, self.std))
        return ((picture * (255 * self.scale) - mean) / std).astype(picture.dtype)


class Samples:
    """A number of samples, each loaded and checked when it is asked for.

    Parameters
    ----------
    inputs : sequence of Value
        What the model takes.
    loaders : sequence of (str, callable)
        For each sample its name in messages and what reads it.
    """

    def __init__(
        self, inputs: Sequence[Value], loaders: Sequence[tuple[str, Callable[[], Any]]]
    ) -> None:
        self._inputs = inputs
        self._loaders = loaders

    def __len__(self) -> int:
        return len(self._loaders)

    def __getitem__(self, i: int) -> Feeds:
        """The feeds of sample `i`.

        Raises
        ------
        ArgumentError
            It has a wrong name, dtype or shape, or numbers that are not finite.
        """
        where, load = self._loaders[i]
        given = load()
        if isinstance(given, np.ndarray):
            if len(self._inputs) != 1:
                names = ", ".join(v.name for v in self._inputs)
                raise ArgumentError(f"{where}: one array where the model has inputs {names}")
            given = {self._inputs[0].name: given}
        if len(self._inputs) == len(given) == 1:
            given = {self._inputs[0].name: next(iter(given.values()))}
        for name in given:
            if name not in {v.name for v in self._inputs}:
                raise ArgumentError(f"{where}: the model has no input {name!r}")
        for value in self._inputs:
            if value.name not in given:
                raise ArgumentError(f"{where}: input {value.name!r} is missing")
        return {v.name: _checked(where, v, np.asarray(given[v.name])) for v in self._inputs}

    def pick(self, indices: Sequence[int]) -> Samples:
        """Only some of them."""
        return Samples(self._inputs, [self._loaders[i] for i in indices])


def _checked(where: str, value: Value, array: np.ndarray) -> np.ndarray:
    """`array` as the input `value`; a batch of one may be left out."""
    what = f"{where}: input {value.name!r}"
    if array.dtype != value.dtype:
        raise ArgumentError(f"{what}: expected {value.dtype}, got {array.dtype}")
    if value.shape is not None:
        if array.ndim == len(value.shape) - 1:
            array = array[None]
        fits = array.ndim == len(value.shape) and all(
            have > 0 and (not isinstance(want, int) or have == want)
            for have, want in zip(array.shape, value.shape, strict=True)
        )
        if not fits:
            wanted = ", ".join("?" if d is None else str(d) for d in value.shape)
            raise ArgumentError(f"{what}: expected shape [{wanted}], got {list(array.shape)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ArgumentError(f"{what}: holds NaN or infinite numbers")
    return np.ascontiguousarray(array)


def open_samples(data: Any, model: Model, pixels: Pixels | None = None) -> Samples:
    """Find samples.

    Parameters
    ----------
    data : path, or sequence
        A folder: of .npy, .pb or picture files for a model of one input, of .npz files with an
        array for each input, or of ``test_data_set_*`` folders. A .npz file: an array for each
        input, whose first axis counts samples. A sequence of feeds, or of arrays for a model of
        one input.
    model : Model
    pixels : Pixels, optional
        What to do with pictures.

    Raises
    ------
    ArgumentError
        There are none, or the file cannot be read.
    """
    inputs = model.graph.inputs
    if isinstance(data, (str, Path)):
        path = Path(data)
        if path.is_dir():
            loaders = _folder(path, model, pixels or Pixels())
        elif path.suffix == ".npz":
            loaders = _stack(path)
        else:
            raise ArgumentError(f"{path}: expected a folder or a .npz file")
        if not loaders:
            known = f" (known files: {', '.join(SUFFIXES)})" if path.is_dir() else ""
            raise ArgumentError(f"{path}: no samples{known}")
    else:
        loaders = [(f"sample {i}", partial(_given, given)) for i, given in enumerate(data)]
        if not loaders:
            raise ArgumentError("no samples")
    return Samples(inputs, loaders)


def _folder(path: Path, model: Model, pixels: Pixels) -> list[tuple[str, Callable[[], Any]]]:
    sets = stored_sets(path)
    if sets:
        return [(str(s.path), partial(s.feeds, model)) for s in sets]
    files = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
    return [(str(p), partial(_file, p, model, pixels)) for p in files]


def _file(path: Path, model: Model, pixels: Pixels) -> np.ndarray | Mapping[str, np.ndarray]:
    """What one file holds: an array, or arrays by input."""
    suffix = path.suffix.lower()
    if suffix == ".pb":
        try:
            return onnx_frontend.load_tensor(path)
        except InvalidModelError as error:
            raise ArgumentError(f"{path.parent}/{error}") from None
    if suffix in PICTURES:
        if len(model.graph.inputs) != 1:
            raise ArgumentError(f"{path}: a picture where the model has several inputs")
        return pixels.load(path, model.graph.inputs[0])
    return _numpy(path)


def _numpy(path: Path) -> Any:
    try:
        found = np.load(path, allow_pickle=False)
        return found if isinstance(found, np.ndarray) else {n: found[n] for n in found.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ArgumentError(f"{path}: not a {path.suffix} file: {error}") from None


def _stack(path: Path) -> list[tuple[str, Callable[[], Any]]]:
    """The samples of a .npz file whose arrays have a leading sample axis."""
    arrays = _numpy(path)
    counts = {name: a.shape[0] if a.ndim else 0 for name, a in arrays.items()}
    if len(set(counts.values())) > 1:
        described = ", ".join(f"{name!r} {count}" for name, count in counts.items())
        raise ArgumentError(f"{path}: inputs with different numbers of samples: {described}")
    count = next(iter(counts.values()), 0)
    return [(f"{path}, sample {i}", partial(_slice, arrays, i)) for i in range(count)]


def _slice(arrays: Mapping[str, np.ndarray], i: int) -> Feeds:
    return {name: array[i] for name, array in arrays.items()}


def _given(sample: Any) -> Any:
    return sample
