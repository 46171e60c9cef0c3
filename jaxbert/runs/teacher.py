"""What a teacher says of every training window, computed once and put beside the data.

A teacher has no dropout, so it says the same in every epoch; the loss finds it in the batch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.data.sampling import bucket_lengths
from jaxbert.data.batch import Batch
from jaxbert.data.features import Features
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.errors import InputError
from jaxbert.runs.evaluate import attention_of
from jaxbert.losses.distillation import PREFIX
from jaxbert.losses.forms import Arrays
from jaxbert.model.config import BertConfig
from jaxbert.model.folders import find_model_folder
from jaxbert.model.heads import Params, make_apply
from jaxbert.model.segments import first_tokens
from jaxbert.model.pretrained import load_pretrained
from jaxbert.runs.folder import check_task
from jaxbert.tasks.task import Task
from jaxbert.training.parallel import Parallel
from jaxbert.training.predict import predict
from jaxbert.training.step import make_predict_step

logger = logging.getLogger("jaxbert")

_OF_TOKENS = {"qa": ("start_logits", "end_logits"), "tagging": ("logits",)}


class Teacher(NamedTuple):
    """A fine-tuned model of the same task.

    name: as it was given. first: whether its [CLS] vectors are wanted too.
    """

    name: str
    cfg: BertConfig
    params: Params
    first: bool

    def fingerprint(self) -> str:
        """SHA-256 of its parameters. What it says is no fingerprint: that varies with devices."""
        digest = hashlib.sha256()
        for leaf in jax.tree.leaves(self.params):
            digest.update(np.ascontiguousarray(leaf).tobytes())
        return digest.hexdigest()


def load_teacher(
    given: Any, task: Task, options: Any, cfg: BertConfig, tokenizer: Any, *, first: bool | None
) -> Teacher:
    """The teacher that --loss_args names.

    Args:
        given: a folder or a name.
        cfg, tokenizer: of the student.
        first: whether its [CLS] vectors are needed; None, where they are as wide as the student's.

    Raises:
        InputError: no such model, or one with another vocabulary, other classes or another width.
    """
    where = f"--loss_args teacher: {given}"
    if task.corrupt is not None:
        raise InputError(f"{where}: not for {task.name}, whose batches are drawn anew every epoch")
    if getattr(options, "target_scaling", None):
        raise InputError(f"{where}: not with --target_scaling; a teacher's scores are not scaled")
    if not isinstance(given, str) or not given:
        raise InputError(f"{where}: give a folder or a name")
    folder = find_model_folder(given)
    check_task(folder, task.name)
    own, params = load_pretrained(folder, task.head, draw_head=False)
    if load_tokenizer(folder, vocab_size=own.vocab_size).get_vocab() != tokenizer.get_vocab():
        raise InputError(f"{where}: it has another vocabulary than the model")
    if task.labels is not None and own.id2label != cfg.id2label:
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
    if options.max_seq_length > own.max_position_embeddings:
        raise InputError(f"{where}: it has {own.max_position_embeddings} positions only")
    return Teacher(given, own, params, alike if first is None else first)


def with_teacher(
    features: Features, teacher: Teacher, task: Task, options: Any, parallel: Parallel
) -> Features:
    """The features with columns teacher_*: the outputs of the teacher's head, and where they are
    wanted teacher_first (M, D), the [CLS] vectors of its last layer."""
    longest = options.max_seq_length
    of_tokens = _OF_TOKENS.get(task.head, ())

    def keep(outputs: Arrays, batch: Batch[jax.Array]) -> Arrays:
        kept = {}
        for name, x in outputs.items():
            if name in of_tokens:
                wide = [(0, 0), (0, longest - x.shape[1]), *[(0, 0)] * (x.ndim - 2)]
                kept[name] = jnp.pad(x, wide)
            elif name != "last_hidden_state":
                kept[name] = x
            elif teacher.first:
                found = first_tokens(x, batch).astype(jnp.float32)
                kept["first"] = found.reshape(batch["weight"].shape[0], -1)
        return kept

    kernel, _ = attention_of(options, teacher.cfg)
    apply = make_apply(teacher.cfg, task.head, dtype=jnp.dtype(options.dtype), attention=kernel)
    logger.info("  the teacher %s is asked once", teacher.name)
    arrays = predict(
        parallel.compile_predict(make_predict_step(apply, keep)),
        parallel.replicate(teacher.params),
        features,
        parallel,
        size=options.per_device_train_batch_size * parallel.devices,
        buckets=bucket_lengths(options.length_bucket, longest),
    )
    assert arrays is not None  # nothing stops it
    real = np.arange(longest) < features.lengths[:, None]
    tokens = {PREFIX + n: x[real] for n, x in arrays.items() if n in of_tokens}
    rows = {PREFIX + n: x for n, x in arrays.items() if n not in of_tokens}
    return dataclasses.replace(
        features, tokens={**features.tokens, **tokens}, rows={**features.rows, **rows}
    )
