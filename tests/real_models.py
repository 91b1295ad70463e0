"""Where the real models are that tests run: not in the repository, and not everywhere."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["ROOT", "find"]

ROOT = Path(
    os.environ.get("LUTHIER_TEST_MODELS") or Path(__file__).parents[2] / "shared" / "models"
)


def find(name: str) -> Path | None:
    """The folder of a model with its test data, if it is there."""
    folder = ROOT / name
    return folder if (folder / "model.onnx").exists() else None
