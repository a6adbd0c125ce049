"""The saved model: a card (YAML) and weights (safetensors), all that segmenting needs."""

from medseg.model.card import (
    Fingerprint,
    ModelCard,
    NetworkFacts,
    Origin,
    Pace,
    Provenance,
    Validation,
)
from medseg.model.folder import (
    CARD,
    Model,
    load_model,
    read_model,
    save_model,
    versions,
    write_card,
)

__all__ = [
    "CARD",
    "Fingerprint",
    "Model",
    "ModelCard",
    "NetworkFacts",
    "Origin",
    "Pace",
    "Provenance",
    "Validation",
    "load_model",
    "read_model",
    "save_model",
    "versions",
    "write_card",
]
