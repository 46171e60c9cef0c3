"""--lora_rank: the model of a run with its adapter."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import jax

from jaxbert.errors import InputError
from jaxbert.loaded.model import LoadedModel
from jaxbert.model.config import load_config
from jaxbert.model.folders import find_model_folder
from jaxbert.model.lora import Lora
from jaxbert.options.keyword_groups import LoraKeywords
from jaxbert.training.optim import is_frozen

logger = logging.getLogger("jaxbert")


def check_lora(lora: LoraKeywords | None) -> None:
    """Refuse matrices that the model has not, before any data are read."""
    if lora is not None:
        if not lora["base"]:
            raise InputError("--lora_rank adapts a trained model; give --model_name_or_path")
        Lora(**lora).modules(load_config(find_model_folder(lora["base"])).family)


def adapted_model(model: LoadedModel, lora: Lora, frozen: Sequence[str], seed: int) -> LoadedModel:
    """The model with changes of its matrices, which are drawn; how much is trained is logged."""
    model = model.with_lora(lora, jax.random.fold_in(jax.random.key(seed), 3))
    sizes = [
        (int(x.size), is_frozen(tuple(str(part.key) for part in path), frozen))
        for path, x in jax.tree_util.tree_leaves_with_path(model.params)
    ]
    total, trained = sum(n for n, _ in sizes), sum(n for n, still in sizes if not still)
    logger.info(
        "  LoRA of rank %d on %s: %s of %s parameters are trained",
        lora.rank,
        ", ".join(lora.modules(model.cfg.family).values()),
        f"{trained:,}",
        f"{total:,}",
    )
    return model
