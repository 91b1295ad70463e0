"""LSTM on NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from luthier.errors import ArgumentError
from luthier.kernels import _kernels, fields
from luthier.kernels.checks import check_threads, float_array
from luthier.kernels.linear import gemm
from luthier.kernels.spaces import check_config, default_config
from luthier.kernels.workload import Gemm
from luthier.target import Target

__all__ = ["lstm", "recurrent_workload"]


def recurrent_workload(
    batch: int, hidden: int, target: Target | None = None
) -> tuple[Gemm, dict[str, Any]]:
    """The product of one step of an LSTM, state times recurrent weights, and its config."""
    workload = Gemm(m=batch, n=4 * hidden, k=hidden)
    return workload, default_config(workload, target)


def lstm(
    x: np.ndarray,
    w: np.ndarray,
    r: np.ndarray,
    bias: np.ndarray | None = None,
    h0: np.ndarray | None = None,
    c0: np.ndarray | None = None,
    *,
    reverse: bool = False,
    config: Mapping[str, Any] | None = None,
    num_threads: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One direction of an LSTM with ONNX's default activations.

    Parameters
    ----------
    x : ndarray of float32, (steps, batch, features)
    w : ndarray of float32, (4 hidden, features)
        Gates in ONNX's order: input, output, forget, cell.
    r : ndarray of float32, (4 hidden, hidden)
    bias : ndarray of float32, (4 hidden,), optional
        The sum of ONNX's two.
    h0, c0 : ndarray of float32, (batch, hidden), optional
        The first state; zeros if left out.
    reverse : bool
        Whether the last step comes first.
    config : mapping, optional
        Of the product with r, as for `gemm`; the untuned choice if left out.
    num_threads : int

    Returns
    -------
    y : ndarray, (steps, batch, hidden)
    h, c : ndarray, (batch, hidden)
        The state after the step computed last.

    Raises
    ------
    ArgumentError
        A shape or dtype does not fit.

    Notes
    -----
    Hochreiter and Schmidhuber, Long Short-Term Memory (1997), with the forget gate of Gers et al.
    (2000).

    Examples
    --------
    >>> ones = np.ones((4, 1), np.float32)
    >>> y, h, c = lstm(np.ones((2, 1, 1), np.float32), ones, ones)
    >>> y.shape, h.shape
    ((2, 1, 1), (1, 1))
    """
    x, w, r = float_array("x", x, (3,)), float_array("w", w, (2,)), float_array("r", r, (2,))
    steps, batch, features = x.shape
    hidden = r.shape[1]
    state = (batch, hidden)
    for name, value, shape in (
        ("w", w, (4 * hidden, features)),
        ("r", r, (4 * hidden, hidden)),
        ("bias", bias, (4 * hidden,)),
        ("h0", h0, state),
        ("c0", c0, state),
    ):
        if value is not None and float_array(name, value).shape != shape:
            raise ArgumentError(f"{name}: expected {list(shape)}, got {list(value.shape)}")
    workload, default = recurrent_workload(batch, hidden)
    config = default if config is None else check_config(workload, config)
    y, h, c = np.empty((steps, *state), np.float32), *np.empty((2, *state), np.float32)
    slots = {
        "x": gemm(x.reshape(-1, features), w.T, bias, num_threads=num_threads),
        "w": fields.pack_weights(workload, r.T, config),
        "h0": None if h0 is None else float_array("h0", h0),
        "c0": None if c0 is None else float_array("c0", c0),
        **{"y": y, "h": h, "c": c},
        **{"steps": steps, "batch": batch, "hidden": hidden, "ldy": batch * hidden},
        "reverse": int(reverse),
        "threads": check_threads(num_threads),
        **fields.tile_fields(config),
    }
    _kernels.call("lstm", slots)
    return y, h, c
