"""Samples: every way to give them, and one clear error for each that does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from float_models import floats, model, node
from onnx import numpy_helper
from PIL import Image

from luthier.errors import ArgumentError
from luthier.model import Model
from luthier.quantizer import Pixels, open_samples

PAIR = {"x": ["n", 3, 4, 4], "z": ["n", 3, 4, 4]}
MAPS = {"y": ["n", 3, 4, 4]}


@pytest.fixture(scope="module")
def one() -> Model:
    """A model of the input x."""
    proto = model([node("Relu", "x", "y")], {}, {"x": ["n", 3, 4, 4]}, MAPS)
    return Model(proto.SerializeToString())


@pytest.fixture(scope="module")
def two() -> Model:
    """A model of the inputs x and z."""
    return Model(model([node("Add", "x z", "y")], {}, PAIR, MAPS).SerializeToString())


X = floats(1, 3, 4, 4)


def test_folders_of_arrays(one: Model, tmp_path: Path) -> None:
    """.npy, .npz and .pb in the order of their names; the batch may be left out."""
    np.save(tmp_path / "b.npy", X[0])
    np.savez(tmp_path / "c.npz", whatever=2 * X)
    (tmp_path / "a.pb").write_bytes(numpy_helper.from_array(3 * X).SerializeToString())
    (tmp_path / "notes.txt").write_text("no sample")
    samples = open_samples(tmp_path, one)
    assert len(samples) == 3
    for i, factor in enumerate((3, 1, 2)):
        assert samples[i].keys() == {"x"}
        np.testing.assert_array_equal(samples[i]["x"], factor * X)
    np.testing.assert_array_equal(samples.pick([2, 0])[0]["x"], 2 * X)


def test_stacks(one: Model, two: Model, tmp_path: Path) -> None:
    """A .npz file whose first axis counts samples, with the batch or without."""
    np.savez(tmp_path / "s.npz", x=np.stack([X[0], 2 * X[0]]))
    np.testing.assert_array_equal(open_samples(tmp_path / "s.npz", one)[1]["x"], 2 * X)
    np.savez(tmp_path / "s.npz", x=np.stack([X, 2 * X]), z=np.zeros((2, 3, 4, 4), np.float32))
    feeds = open_samples(tmp_path / "s.npz", two)[1]
    assert {name: array.shape for name, array in feeds.items()} == dict.fromkeys("xz", (1, 3, 4, 4))


def test_folders_for_several_inputs(two: Model, tmp_path: Path) -> None:
    np.savez(tmp_path / "0.npz", z=X, x=2 * X)
    np.testing.assert_array_equal(open_samples(tmp_path, two)[0]["x"], 2 * X)


def test_stored_test_sets(two: Model, tmp_path: Path) -> None:
    for number in (10, 9):
        folder = tmp_path / f"test_data_set_{number}"
        folder.mkdir()
        for i in (0, 1):
            data = numpy_helper.from_array(X * (number + i)).SerializeToString()
            (folder / f"input_{i}.pb").write_bytes(data)
    samples = open_samples(tmp_path, two)
    np.testing.assert_array_equal(samples[0]["z"], X * 10)
    np.testing.assert_array_equal(samples[1]["x"], X * 10)


def test_python_objects(one: Model, two: Model) -> None:
    np.testing.assert_array_equal(open_samples([X, 2 * X], one)[1]["x"], 2 * X)
    np.testing.assert_array_equal(open_samples([{"x": X, "z": 2 * X}], two)[0]["z"], 2 * X)


def test_pictures(one: Model, tmp_path: Path) -> None:
    """(pixel * scale - mean) / std, in the model's layout."""
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    Image.fromarray(pixels).save(tmp_path / "a.PNG")
    plain = open_samples(tmp_path, one)[0]["x"]
    np.testing.assert_allclose(plain[0], pixels.transpose(2, 0, 1) / 255, rtol=1e-5)
    options = Pixels(scale=1.0, mean=(1.0, 2.0, 3.0), std=(2.0,))
    got = open_samples(tmp_path, one, options)[0]["x"]
    wanted = (pixels.astype(float) - [1, 2, 3]) / 2
    np.testing.assert_allclose(got[0], wanted.transpose(2, 0, 1), rtol=1e-5, atol=1e-5)
    assert got.dtype == np.float32
    with pytest.raises(ArgumentError, match=r"a\.PNG: mean and std need 1 or 3 numbers"):
        _ = open_samples(tmp_path, one, Pixels(mean=(1.0, 2.0)))[0]


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (X.astype(np.float64), r"a\.npy: input 'x': expected float32, got float64"),
        (X[:, :2], r"a\.npy: input 'x': expected shape \[n, 3, 4, 4\], got \[1, 2, 4, 4\]"),
        (X[0, 0], r"a\.npy: input 'x': expected shape \[n, 3, 4, 4\], got \[4, 4\]"),
        (X[:0], r"a\.npy: input 'x': expected shape .*, got \[0, 3, 4, 4\]"),
        (X * np.float32("nan"), r"a\.npy: input 'x': holds NaN or infinite numbers"),
        (np.full_like(X, np.inf), r"a\.npy: input 'x': holds NaN or infinite numbers"),
    ],
)
def test_arrays_that_do_not_fit(one: Model, tmp_path: Path, array: np.ndarray, reason: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ArgumentError, match=reason):
        _ = open_samples(tmp_path, one)[0]


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.pb", "a.png"])
@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_broken_files(one: Model, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArgumentError, match=name.replace(".", r"\.")):
        _ = open_samples(tmp_path, one)[0]


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        ({"std": (0.5, 0.0, 0.5)}, "std of pixels must be finite and not 0, got 0.0"),
        ({"std": (float("nan"),)}, "std of pixels must be finite and not 0, got nan"),
        ({"mean": (float("inf"),)}, "mean of pixels must be finite, got inf"),
        ({"scale": float("nan")}, "scale of pixels must be finite, got nan"),
    ],
)
def test_numbers_for_pixels_that_make_no_sense(pixels: dict, reason: str) -> None:
    with pytest.raises(ArgumentError, match=reason):
        Pixels(**pixels)


def test_pickles_are_not_read(one: Model, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ArgumentError, match=r"a\.npy: not a \.npy file"):
        _ = open_samples(tmp_path, one)[0]


def test_sets_that_do_not_fit(one: Model, two: Model, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"no samples \(known files: \.npy"):
        open_samples(tmp_path, one)
    with pytest.raises(ArgumentError, match=r"absent: expected a folder or a \.npz file"):
        open_samples(tmp_path / "absent", one)
    with pytest.raises(ArgumentError, match=r"absent\.npz: not a \.npz file: .*No such file"):
        open_samples(tmp_path / "absent.npz", one)
    with pytest.raises(ArgumentError, match="no samples"):
        open_samples([], one)
    np.savez(tmp_path / "s.npz", x=X.repeat(2, 0), z=X)
    with pytest.raises(
        ArgumentError, match=r"s\.npz: .*different numbers of samples: 'x' 2, 'z' 1"
    ):
        open_samples(tmp_path / "s.npz", two)
    np.savez(tmp_path / "s.npz")
    with pytest.raises(ArgumentError, match=r"s\.npz: no samples$"):
        open_samples(tmp_path / "s.npz", two)
    np.savez(tmp_path / "s.npz", x=X, w=X)
    with pytest.raises(ArgumentError, match=r"s\.npz, sample 0: the model has no input 'w'"):
        _ = open_samples(tmp_path / "s.npz", two)[0]
    np.savez(tmp_path / "s.npz", x=X)
    with pytest.raises(ArgumentError, match=r"s\.npz, sample 0: input 'z' is missing"):
        _ = open_samples(tmp_path / "s.npz", two)[0]
    folder = tmp_path / "one"
    folder.mkdir()
    np.save(folder / "a.npy", X)
    with pytest.raises(ArgumentError, match=r"a\.npy: one array where the model has inputs x, z"):
        _ = open_samples(folder, two)[0]
