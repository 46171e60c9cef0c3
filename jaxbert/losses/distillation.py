"""Knowledge distillation; the batch has what the teacher says of each window: runs.teacher."""

from __future__ import annotations

from typing import Literal, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array

from jaxbert.data.batch import Batch
from jaxbert.losses.forms import Loss, ModelOutputs, Parts, Term, check_range, divergence, unit
from jaxbert.model.segments import first_tokens

PREFIX = "teacher_"
_Name: TypeAlias = Literal[
    "teacher_start_logits", "teacher_end_logits", "teacher_logits", "teacher_scores"
]
_NAMES: tuple[_Name, ...] = (
    "teacher_start_logits",
    "teacher_end_logits",
    "teacher_logits",
    "teacher_scores",
)


def distillation(
    outputs: ModelOutputs,
    batch: Batch[Array],
    *,
    base: Loss,
    teacher: str,
    alpha: float = 0.5,
    temperature: float = 2.0,
    hidden: float = 0.0,
) -> Parts:
    """(1 - alpha) L + alpha t^2 KL(p_teacher || p), both at temperature t (Hinton et al. 2015).

    Of scores (regression) the second term is alpha times the squared difference. With `hidden` is
    added hidden * |h / |h| - h_teacher / |h_teacher||^2, of the [CLS] vectors of the last layer
    (Sun et al. 2019, Patient Knowledge Distillation, equation 7). Each is a separate mean: the
    first by the base's weights, the second over all labels or rows, the third over rows.

    Args:
        outputs: of the student, and last_hidden_state (B, T, D).
        batch: as `base`, and the teacher's outputs, teacher_start_logits or the like, and
            teacher_first (B, D), its [CLS] vectors; of K choices (B, K * D).
        base: (outputs, batch) -> sums.
        teacher: the folder of a model that was trained for the task.
        alpha: from 0, the base alone, to 1, the teacher alone.
        temperature: t.
        hidden: weight of the third term; teacher and student must be equally wide.
    """
    check_range("alpha", alpha, 0, 1)
    check_range("temperature", temperature, 1e-2, 1e3)
    check_range("hidden", hidden, 0, 1e4)
    loss_sum, weight_sum = base(outputs, batch)
    of_teacher = {name.removeprefix(PREFIX): batch[name] for name in _NAMES if name in batch}
    square = 1.0 if "scores" in outputs else temperature**2
    apart, count = divergence(of_teacher, outputs, batch, temperature)
    terms = [Term(1 - alpha, loss_sum, weight_sum), Term(alpha, square * apart, count)]
    if hidden:
        first = first_tokens(outputs["last_hidden_state"], batch)
        rows = batch["weight"].shape[0]
        difference = unit(first) - unit(batch["teacher_first"].reshape(first.shape))
        of_rows = jnp.sum(difference.reshape(rows, -1) ** 2, axis=-1)  # of choices, their sum
        weight = batch["weight"]
        terms.append(Term(hidden, jnp.sum(weight * of_rows), jnp.sum(weight)))
    return Parts(tuple(terms), {})
