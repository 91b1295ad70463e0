"""Reads a line of text with a real model, before and after tuning it to this machine.

The model is the text recogniser of PP-OCRv4 (Apache-2.0), taken from the wheel
rapidocr-onnxruntime on PyPI. Files go to ``build/demo``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
from PIL import Image, ImageDraw, ImageFont

import luthier
from luthier.cli.tune_view import view
from luthier.tuner.whole_model import compare

FOLDER = Path(__file__).resolve().parents[2] / "build" / "demo"
WHEEL = "rapidocr-onnxruntime==1.4.4"
MEMBER = "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx"
TEXT = "Every violin is tuned by ear"
HEIGHT, WIDTH = 48, 480
"""The model takes lines of 48 pixels; the width is free."""


def fetch_model() -> Path:
    """The model's file, downloaded on the first call."""
    path = FOLDER / "text_recogniser.onnx"
    if not path.exists():
        print(f"downloading {WHEEL}")
        FOLDER.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(FOLDER)]
        subprocess.run([*pip, WHEEL], check=True)
        with zipfile.ZipFile(next(FOLDER.glob("rapidocr_onnxruntime-*.whl"))) as wheel:
            path.write_bytes(wheel.read(MEMBER))
    return path


def alphabet(path: Path) -> list[str]:
    """What each class of the output stands for; class 0 is CTC's blank."""
    metadata = {p.key: p.value for p in onnx.load(path).metadata_props}
    return ["", *metadata["character"].splitlines(), " "]


def draw(text: str) -> Image.Image:
    """A picture of the text, black on white."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    ImageDraw.Draw(picture).text((8, 6), text, "black", ImageFont.load_default(30))
    return picture


def preprocess(picture: Image.Image) -> np.ndarray:
    """Pixels from -1 to 1, blue first, shape (1, 3, 48, width)."""
    pixels = np.asarray(picture, np.float32)[:, :, ::-1] / 127.5 - 1
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def decode(scores: np.ndarray, classes: list[str]) -> str:
    """The text of the most likely path: repetitions joined, blanks dropped."""
    best = scores.argmax(axis=1)
    fresh = np.r_[True, best[1:] != best[:-1]]
    return "".join(classes[i] for i in best[fresh]).strip()


def main() -> int:
    """Read, tune, read again; returns 1 if the text was misread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", default=TEXT, help="the line to draw and read")
    parser.add_argument("--budget", type=float, default=40, help="seconds of tuning")
    args = parser.parse_args()

    path = fetch_model()
    picture = draw(args.text)
    picture.save(FOLDER / "line.png")
    x = preprocess(picture)
    classes = alphabet(path)

    untuned = luthier.InferenceSession(path, records=None)
    (scores,) = untuned.run(None, {"x": x})
    print(f"{FOLDER / 'line.png'} reads: {decode(scores[0], classes)}")

    print(f"tuning for about {args.budget:.0f} s")
    with view(to_stderr=False, budget=args.budget) as watch:
        outcome = luthier.tune(
            path,
            shapes={"x": x.shape},
            level="quick",
            budget=args.budget,
            progress=watch,
            on_tasks=watch.on_tasks,
        )

    tuned = luthier.InferenceSession(path)
    (scores,) = tuned.run(None, {"x": x})
    text = decode(scores[0], classes)
    print(f"tuned, it reads: {text}")
    found = compare(lambda: tuned.run(None, {"x": x}), lambda: untuned.run(None, {"x": x}))
    print(f"latency before: {found.untuned * 1e3:.2f} ms, after: {found.tuned * 1e3:.2f} ms")
    if outcome.comparison is None:
        print("no config beat the defaults with confidence, so they stay")
    else:
        print(f"{1 / found.ratio:.2f} times as fast")
    print(f"records: {outcome.records}")
    return 0 if text == args.text else 1


if __name__ == "__main__":
    sys.exit(main())
