"""Running a model over samples and looking at tensors inside it, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from luthier.errors import UnsupportedError
from luthier.graph import bind
from luthier.model import Model
from luthier.onnx_frontend.quantize import Editor
from luthier.quantizer.samples import Feeds, Samples
from luthier.session import InferenceSession

__all__ = ["Progress", "observe"]

Progress = Callable[[str, int, int], None]
"""Is told the stage, how much of it is done, and how much there is."""

CHUNK_BYTES = 256 << 20
"""Tensors that one run of a model may return; more are seen in several runs."""

_BLIND_CHUNK = 8
"""Tensors a run where their sizes cannot be told beforehand."""


def observe(
    views: Sequence[tuple[Editor, dict[str, str]]],
    samples: Samples,
    look: Callable[[str, list[np.ndarray]], None],
    *,
    num_threads: int | None,
    stage: str,
    progress: Progress | None,
) -> None:
    """Run models side by side over all samples.

    Parameters
    ----------
    views : sequence of (Editor, dict)
        Models of the same inputs, each with the tensors to see: label -> name. All have the
        same labels.
    samples : Samples
    look : callable
        Is called with each label and its tensors, one a model, for each sample.
    num_threads : int or None
    stage : str
        For `progress`.
    progress : callable or None
    """
    editor, names = views[0]
    chunks = list(_chunks(editor, names, samples[0]))
    total = len(chunks) * len(samples)
    for index, chunk in enumerate(chunks):
        runs = [_runner(e, [n[label] for label in chunk], num_threads) for e, n in views]
        for i in range(len(samples)):
            feeds = samples[i]
            for label, *arrays in zip(chunk, *(run(feeds) for run in runs), strict=True):
                look(label, arrays)
            if progress:
                progress(stage, index * len(samples) + i + 1, total)


def _runner(
    editor: Editor, names: Sequence[str], num_threads: int | None
) -> Callable[[Feeds], list[np.ndarray]]:
    """What computes the tensors `names`, which may be inputs, from feeds."""
    computed = [name for name in names if name not in editor.inputs]
    if not computed:
        return lambda feeds: [feeds[name] for name in names]
    data = editor.model(computed).SerializeToString()
    session = InferenceSession(data, num_threads=num_threads, records=None)

    def run(feeds: Feeds) -> list[np.ndarray]:
        known = feeds | dict(zip(computed, session.run(None, feeds), strict=True))
        return [known[name] for name in names]

    return run


def _chunks(editor: Editor, names: dict[str, str], feeds: Feeds) -> Iterator[list[str]]:
    """Groups of labels whose tensors together stay below `CHUNK_BYTES`."""
    shapes = {name: array.shape for name, array in feeds.items()}
    computed = [name for name in names.values() if name not in shapes]
    if computed:
        graph = Model(editor.model(computed).SerializeToString()).graph
        try:
            bound = bind(graph, shapes)
            shapes |= {n: v.shape for n, v in zip(computed, bound.outputs, strict=True)}
        except UnsupportedError:  # shapes depend on content
            shapes |= dict.fromkeys(computed, (CHUNK_BYTES // _BLIND_CHUNK // 4,))
    chunk: list[str] = []
    room = CHUNK_BYTES
    for label, name in names.items():
        size = 4 * math.prod(shapes[name])
        if chunk and size > room:
            yield chunk
            chunk, room = [], CHUNK_BYTES
        chunk.append(label)
        room -= size
    if chunk:
        yield chunk
