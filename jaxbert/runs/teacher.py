"""What a teacher says of every training window, computed once and put beside the data.

A teacher has no dropout, so it says the same in every epoch; the loss finds it in the batch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.data.batch import Batch
from jaxbert.data.features import Features
from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.loaded.model import LoadedModel
from jaxbert.losses.distillation import PREFIX
from jaxbert.losses.forms import Arrays
from jaxbert.model.folders import find_model_folder
from jaxbert.model.segments import first_tokens
from jaxbert.runs.record import check_task
from jaxbert.tasks.task import E, P, S, Task

logger = logging.getLogger("jaxbert")


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A fine-tuned model of the same task.

    Attributes:
        name: as it was given.
        first: whether its [CLS] vectors are wanted too.
    """

    name: str
    model: LoadedModel
    first: bool

    def fingerprint(self) -> str:
        """SHA-256 of its parameters. What it says is no fingerprint: that varies with devices."""
        digest = hashlib.sha256()
        for leaf in jax.tree.leaves(self.model.params):
            digest.update(np.ascontiguousarray(leaf).tobytes())
        return digest.hexdigest()


def load_teacher(
    path_or_name: Json, task: Task[S, E, P], student: LoadedModel, *, first: bool | None
) -> Teacher:
    """The teacher that --loss_args names, computed as the student is.

    Args:
        path_or_name: of the teacher.
        first: whether its [CLS] vectors are needed; None, where they are as wide as the student's.

    Raises:
        InputError: no such model, or one with another vocabulary, other classes or another width.
    """
    where = f"--loss_args teacher: {path_or_name}"
    if task.without_teacher is not None:
        raise InputError(f"{where}: {task.without_teacher}")
    if not isinstance(path_or_name, str) or not path_or_name:
        raise InputError(f"{where}: give a folder or a name")
    folder = find_model_folder(path_or_name)
    check_task(folder, task.name)
    model = LoadedModel.from_folder(folder, task.head, student.compute)
    own, cfg = model.cfg, student.cfg
    if model.tokenizer.get_vocab() != student.tokenizer.get_vocab():
        raise InputError(f"{where}: it has another vocabulary than the model")
    if task.has_classes and own.id2label != cfg.id2label:
        names = ", ".join(own.id2label[:20])
        raise InputError(f"{where}: its classes are {names}; they must be the data's, in order")
    if own.multi_label != cfg.multi_label:
        kinds = ("one class a text", "any number of classes a text")
        raise InputError(
            f"{where}: it gives {kinds[own.multi_label]}, and the model {kinds[cfg.multi_label]}"
        )
    alike = own.hidden_size == cfg.hidden_size
    if first and not alike:
        raise InputError(
            f"{where}: its hidden states have {own.hidden_size} numbers and the model's "
            f"{cfg.hidden_size}; give hidden 0"
        )
    if task.settings.max_seq_length > own.positions:
        raise InputError(f"{where}: it has {own.positions} positions only")
    return Teacher(path_or_name, model, alike if first is None else first)


@dataclasses.dataclass(frozen=True)
class _Kept:
    """What is kept of a teacher's outputs: those of tokens, padded to `longest`, those of rows,
    and where `first` is true the [CLS] vectors of its last layer."""

    token_outputs: tuple[str, ...]
    longest: int
    first: bool

    def __call__(self, outputs: Arrays, batch: Batch[jax.Array]) -> Arrays:
        kept = {}
        for name, x in outputs.items():
            if name in self.token_outputs:
                wide = [(0, 0), (0, self.longest - x.shape[1]), *[(0, 0)] * (x.ndim - 2)]
                kept[name] = jnp.pad(x, wide)
            elif name != "last_hidden_state":
                kept[name] = x
            elif self.first:
                found = first_tokens(x, batch).astype(jnp.float32)
                kept["first"] = found.reshape(batch["weight"].shape[0], -1)
        return kept


def with_teacher(
    features: Features,
    teacher: Teacher,
    token_outputs: tuple[str, ...],
    *,
    size: int,
    buckets: Sequence[int],
) -> Features:
    """The features with columns teacher_*: the outputs of the teacher's head, and where they are
    wanted teacher_first (M, D), the [CLS] vectors of its last layer.

    Args:
        token_outputs: the outputs of the head that have a value a token.
        size: rows of a batch, over all devices.
        buckets: the lengths that rows are padded to.
    """
    logger.info("  the teacher %s is asked once", teacher.name)
    longest = max(buckets)
    kept = _Kept(token_outputs, longest, teacher.first)
    arrays = teacher.model.predict(features, kept, size=size, buckets=buckets)
    assert arrays is not None  # nothing stops it
    real = np.arange(longest) < features.lengths[:, None]
    tokens = {PREFIX + n: x[real] for n, x in arrays.items() if n in token_outputs}
    rows = {PREFIX + n: x for n, x in arrays.items() if n not in token_outputs}
    return dataclasses.replace(
        features, tokens={**features.tokens, **tokens}, rows={**features.rows, **rows}
    )
