"""SharedEncoder: the models of several tasks with one encoder, which is trained by all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from jaxbert.errors import InputError
from jaxbert.loaded.model import LoadedModel
from jaxbert.model.config import BertConfig
from jaxbert.model.heads import Apply, of_other_params
from jaxbert.model.params import Params, subtree

_ENCODER = "bert"


class SharedEncoder:
    """Models whose encoder is one: its parameters are there once, and a head for each task.

    Args:
        models: of each task, opened from one folder.
        params: of each task, in place of its model's own; what is beside the encoder is its head.

    Attributes:
        params: {"bert": the encoder, TASK: its head, ...}, on the host, float32. The encoder has
            what any of the tasks reads of it: BERT's pooler where one does.

    Raises:
        InputError: the models have encoders of different shapes, or different vocabularies.
    """

    def __init__(
        self, models: Mapping[str, LoadedModel], params: Mapping[str, Params] | None = None
    ) -> None:
        if not models:
            raise InputError("there are no models to share an encoder")
        self._models = models
        names, of_tasks = list(models), [models[name] for name in models]
        first = of_tasks[0]
        for name, model in zip(names[1:], of_tasks[1:], strict=True):
            same_words = model.tokenizer.get_vocab() == first.tokenizer.get_vocab()
            if _shape(model.cfg) != _shape(first.cfg) or not same_words:
                raise InputError(
                    f"{names[0]} and {name} cannot share an encoder: theirs differ; open both from "
                    "one folder"
                )
        if params is None:
            params = {name: model.params for name, model in models.items()}
        parts = [subtree(params[name], _ENCODER) for name in reversed(names)]  # the first counts
        encoder = {k: x for part in parts for k, x in part.items()}
        heads = {name: {k: x for k, x in p.items() if k != _ENCODER} for name, p in params.items()}
        self._read = {name: tuple(subtree(p, _ENCODER)) for name, p in params.items()}
        self.params: Params = {_ENCODER: encoder, **heads}

    def of_task(self, params: Params, name: str) -> Params:
        """The parameters of a task's model, of those of all."""
        encoder = subtree(params, _ENCODER)
        return {_ENCODER: {k: encoder[k] for k in self._read[name]}, **subtree(params, name)}

    def apply(self, name: str, apply: Apply) -> Apply:
        """The model of a task as a function of the parameters of all.

        Args:
            apply: of the task's own parameters.
        """
        return of_other_params(apply, lambda params: self.of_task(params, name))

    def save(self, folder: str | Path, params: Params) -> None:
        """Write the model of each task to a folder of its name, as LoadedModel.save does.

        Args:
            params: of all, on the host.
        """
        for name, model in self._models.items():
            model.save(Path(folder) / name, self.of_task(params, name))


def _shape(cfg: BertConfig) -> BertConfig:
    """The configuration without what is a head's."""
    return dataclasses.replace(cfg, id2label=(), problem_type=None, window_attention=False)
