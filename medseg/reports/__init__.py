"""Which pages does medseg write?  Self-contained HTML: evaluation, comparison, batch, training."""

from __future__ import annotations
