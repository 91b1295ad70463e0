"""Bounds on what a model may ask for, and on errors.

Model files are untrusted: check before allocating.
"""

from __future__ import annotations

MAX_MODEL_BYTES = 8 << 30
"""Largest model file read, in bytes."""

MAX_TENSOR_BYTES = 4 << 30
"""Largest single tensor, in bytes."""

MAX_ARENA_BYTES = 16 << 30
"""Largest activation arena of one plan, in bytes."""

MAX_RANK = 8
"""Largest tensor rank."""

MAX_NODES = 1_000_000
"""Largest number of nodes in a graph, subgraphs included."""

MAX_SUBGRAPH_DEPTH = 16
"""Deepest nesting of subgraphs (If, Loop, Scan)."""

MAX_ERROR = 1e-5
"""Largest error that the algorithm of a layer may add to the rounding of float32 sums unless the
user says otherwise, as a share of the layer's output range."""

PRECISION_ERRORS = {"fp32": MAX_ERROR, "fp16": 2e-3, "bf16": 5e-3}
"""The same bound by the precision that the user allows."""

FOLD_BYTES = 64 << 20
"""Constant folding keeps a node whose result would be larger than this, in bytes."""
