"""Compares ways to quantise an ImageNet classifier, with pictures that Python packages bring.

    pip install scikit-image scikit-learn pillow
    python examples/quantize_pictures.py mobilenet_v2.onnx

The pictures are those of skimage.data and sklearn.datasets. Crops of their left halves calibrate,
crops of their right halves judge: no pixel is in both. The table shows how often the int8 model's
first choice is the float model's, and the signal-to-noise ratio of its scores.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image
from sklearn.datasets import load_sample_images

import luthier
from luthier.cli.common import print_table

NAMES = (
    "astronaut camera chelsea coffee coins hubble_deep_field immunohistochemistry retina rocket"
).split()
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE = 224


def pictures() -> list[np.ndarray]:
    """Every picture, as uint8 of shape (height, width, 3)."""
    found = [getattr(skimage.data, name)() for name in NAMES]
    found += [skimage.data.stereo_motorcycle()[0], *load_sample_images().images]
    return [np.asarray(Image.fromarray(p).convert("RGB")) for p in found]


def crops(half: np.ndarray, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Random squares, some of them mirrored, as inputs of shape (1, 3, 224, 224)."""
    made = []
    for _ in range(count):
        side = int(min(half.shape[:2]) * rng.uniform(0.6, 1))
        top, left = (int(rng.integers(0, n - side + 1)) for n in half.shape[:2])
        square = Image.fromarray(half[top : top + side, left : left + side])
        pixels = np.asarray(square.resize((SIZE, SIZE)), np.float64) / 255
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        x = ((pixels - MEAN) / STD).transpose(2, 0, 1)[None]
        made.append(np.ascontiguousarray(x, np.float32))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare ways to quantise a classifier.")
    parser.add_argument("model", type=Path, help="ONNX, one input of shape (1, 3, 224, 224)")
    parser.add_argument("--crops", type=int, default=5, help="of each half of each picture")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    left, right = [], []
    for picture in pictures():
        middle = picture.shape[1] // 2
        left += crops(picture[:, :middle], args.crops, rng)
        right += crops(picture[:, middle:], args.crops, rng)
    print(f"{len(left)} crops calibrate, {len(right)} judge")

    plain: dict[str, bool] = {}
    variants = [
        (method, per_channel, plain)
        for per_channel, method in itertools.product(
            (False, True), ("minmax", "percentile", "entropy", "mse")
        )
    ]
    for per_channel in (False, True):
        variants.append(("mse", per_channel, {"bias_correction": True}))
        variants.append(("mse", per_channel, {"equalize": True}))
        variants.append(("mse", per_channel, {"equalize": True, "bias_correction": True}))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for method, per_channel, options in variants:
            outcome = luthier.quantize(
                args.model,
                left,
                Path(folder, "int8.onnx"),
                method=method,
                per_channel=per_channel,
                held_out=right,
                **options,
            )
            (output,) = outcome.outputs
            rows.append(
                (
                    method,
                    "channel" if per_channel else "tensor",
                    " + ".join(options) or "-",
                    f"{100 * (1 - output.drop):.1f} %",
                    f"{output.snr_db:.1f}",
                    f"{outcome.bytes_before / 1e6:.2f}",
                    f"{outcome.bytes_after / 1e6:.2f}",
                )
            )
    columns = ["method", "scale a", "options", "top-1 agreement", "SNR dB", "MB before", "MB after"]
    print_table(columns, rows)


if __name__ == "__main__":
    main()
