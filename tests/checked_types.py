"""Shapes and types in the signatures of the rooms of arrays, checked at every call in the tests."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

ROOMS = [
    *(f"jaxbert.model.{name}" for name in ("attention", "dropout", "encoder", "heads", "kernels")),
    "jaxbert.model.segments",
    "jaxbert.losses.binary_losses",
    "jaxbert.losses.distillation",
    "jaxbert.losses.forms",
    "jaxbert.losses.label_losses",
    "jaxbert.losses.passes",
    "jaxbert.losses.span_losses",
    "jaxbert.decoding",
]

# As type checkers have it, an int is a float too.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
