"""What a run that is resumed is held to, once its data and functions are known."""

from __future__ import annotations

import logging

from jaxbert.errors import InputError
from jaxbert.runs.record import RunRecord

logger = logging.getLogger("jaxbert")

# Of the fingerprints of a record, in the order in which they are compared.
_DATA = {
    "train": "other train data or another tokenizer",
    "validation": "other validation data",
    "teacher": "another teacher",
    "model": "another config.json",
    "base": "another model to adapt",
}


def check_resumed(
    previous: RunRecord, now: RunRecord, *, place: str, user_loss: bool, whose: str
) -> None:
    """Refuse to resume a run with other data, or with a user's loss, metric or corruption that has
    been changed; warn of another machine.

    Args:
        previous: the record of the run.
        now: that of this one, with its fingerprints.
        place: where the run lies, for messages.
        user_loss: whether the loss is the user's.
        whose: what is before the names of a task's options, where there are several: "TASK.".

    Raises:
        InputError: it is so, and is not allowed to be.
    """
    differences = previous.differences(now)
    if differences.environment:
        logger.warning(
            "the run was started with %s; it resumes, but may not end with the same bits",
            "; ".join(map(str, differences.environment)),
        )
    given = now.options.get("allow_changed_options")
    allowed = [str(x).removeprefix(whose) for x in given] if isinstance(given, list) else []
    # The options of the loss name the teacher.
    may_differ = {"teacher"} if "loss" in allowed or "loss_args" in allowed else set()
    for name, what in _DATA.items():
        if name in differences.data - may_differ:
            of = f" of {whose[:-1]}" if whose else ""
            raise InputError(
                f"--output_dir {place}: the run was started with {what}{of}; give that, "
                "or --overwrite_output_dir"
            )
    best = now.options.get("metric_for_best_model")
    for name, what in differences.functions.items():
        option, _, metric = name.partition(" ")
        if isinstance(best, str):
            best = best.removeprefix(whose).removeprefix("eval_")
        if metric and metric == best:
            advice = (
                "it tells the best checkpoint, and earlier evaluations do not have the new "
                "one's scores: give the former, or --overwrite_output_dir"
            )
        elif option in allowed:
            continue
        else:
            advice = (
                f"give --allow_changed_options {whose}{option} to resume with what is given now, "
                "or --overwrite_output_dir"
            )
        raise InputError(f"--output_dir {place}: {whose}{name}: {what}; {advice}")
    if not user_loss or "loss" in allowed:
        return
    loss = f"--{whose}loss {now.options.get('loss')}"
    advice = (
        f"give --allow_changed_options {whose}loss to resume with the new one, or "
        "--overwrite_output_dir"
    )
    if differences.loss:
        what = f"the text of {loss}" if now.loss_values else f"the file of {loss}"
        raise InputError(
            f"--output_dir {place}: {what} is not the one that the run was started with, "
            f"whose text is in options.json; {advice}"
        )
    if differences.loss_value:
        raise InputError(f"--output_dir {place}: {loss}: {differences.loss_value}; {advice}")
