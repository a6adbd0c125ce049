"""The pages that medseg writes, self-contained HTML: evaluation, comparison, batch, training."""

from __future__ import annotations
