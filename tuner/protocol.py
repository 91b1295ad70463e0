"""The messages between a measurer and its worker: one JSON object a line."""

from __future__ import annotations

import msgspec

from luthier.tuner.record import Config, Result
from luthier.tuner.sampling import Effort

__all__ = [
    "Confirm",
    "Measure",
    "Ready",
    "Reply",
    "Request",
    "decode_reply",
    "decode_request",
    "encode",
]


class Measure(msgspec.Struct, tag="measure", frozen=True):
    """Check and time one config beside the reference config."""

    workload: str
    config: Config
    reference: Config
    effort: Effort
    best: float | None = None


class Confirm(msgspec.Struct, tag="confirm", frozen=True):
    """Compare several configs with the reference config, interleaved."""

    workload: str
    configs: tuple[Config, ...]
    reference: Config
    effort: Effort


class Ready(msgspec.Struct, tag="ready", frozen=True):
    """The worker's first message."""


class Reply(msgspec.Struct, tag="reply", frozen=True):
    """The results, in the order of the configs."""

    results: tuple[Result, ...]


Request = Measure | Confirm

encode = msgspec.json.Encoder().encode
decode_request = msgspec.json.Decoder(Request).decode
decode_reply = msgspec.json.Decoder(Ready | Reply).decode
