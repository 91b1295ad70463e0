"""Models that are exported, built as programs, and run without Python."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import real_models
import small_model

import luthier
from luthier.feeds import random_feeds
from luthier.model import Model
from luthier.standalone import PROGRAM, build

__all__ = ["Built", "build_cases"]

NAMES = ("mnist12", "mobilenet_v2_real_ts13", "mobilenet_v2_qop_u8s8_pc")


@dataclass
class Built:
    """One program for all of some models."""

    folder: Path
    sources: dict[str, Path]
    emulator: Sequence[str] = ()

    def exported(self, name: str) -> Path:
        return self.folder / f"{name}.luthier"

    def feeds(self, name: str) -> dict[str, np.ndarray]:
        shapes = {"x": (2, 3, 9, 10)} if name == "small" else None
        return random_feeds(Model(self.sources[name]), shapes)

    def call(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [*self.emulator, str(self.folder / PROGRAM), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def run(self, name: str) -> list[np.ndarray]:
        """The program's outputs, shaped as the model says."""
        given, answer = self.folder / f"{name}.in", self.folder / f"{name}.out"
        given.write_bytes(b"".join(array.tobytes() for array in self.feeds(name).values()))
        done = self.call("--model", self.exported(name), given, answer)
        assert done.returncode == 0, done.stderr
        data, outputs = answer.read_bytes(), []
        for expected in self.expected(name):
            size = expected.nbytes
            outputs.append(np.frombuffer(data[:size], expected.dtype).reshape(expected.shape))
            data = data[size:]
        assert not data
        return outputs

    def expected(self, name: str) -> list[np.ndarray]:
        """Of a session here."""
        session = luthier.InferenceSession(self.sources[name], num_threads=1, records=None)
        return session.run(None, self.feeds(name))


def build_cases(folder: Path, target: str, emulator: Sequence[str] = ()) -> Built:
    """Export a small model, and the real ones that are there, and build one program for them."""
    sources = {"small": small_model.write_model(folder / "small.onnx")}
    sources |= {name: found / "model.onnx" for name in NAMES if (found := real_models.find(name))}
    made = Built(folder, sources, emulator)
    entries = []
    for name, path in sources.items():
        shapes = {"x": (2, 3, 9, 10)} if name == "small" else None
        entries += luthier.export(
            path, made.exported(name), targets=[target], shapes=shapes, num_threads=1, records=None
        )
    build(made.exported("small"), entries)
    return made
