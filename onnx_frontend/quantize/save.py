"""Writing a model file, wholly or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import onnx

from luthier.errors import LuthierError
from luthier.onnx_frontend.quantize.editor import Editor

__all__ = ["save"]


def save(editor: Editor, path: str | os.PathLike[str]) -> int:
    """Check the model by ONNX's own checker and write it to a temporary file, then rename that.

    Returns
    -------
    int
        The size of the file in bytes.

    Raises
    ------
    LuthierError
        If the checker refuses the model: a bug in luthier.
    OSError
        If the file cannot be written.
    """
    path = Path(path)
    model = editor.model()
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # onnx raises bare exceptions of several classes
        raise LuthierError(f"{path.name}: not a valid model: {error}") from None
    data = model.SerializeToString()
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)  # mkstemp made it for its owner alone
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return len(data)
