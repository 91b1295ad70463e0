"""Why layers stay under 70 % of their roof, by kind (`luthier.bench.roofline.kind`)."""

from __future__ import annotations

__all__ = ["REASONS"]

REASONS: dict[str, str] = {}
