"""Predictions for rows that need no labels, and predictions as plain dicts."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

from jaxbert.data.in_memory import InMemory
from jaxbert.data.rows import problem_lines
from jaxbert.data.sampling import bucket_lengths
from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.options.settings import EvaluationOptions
from jaxbert.runs.encoding import encode_examples
from jaxbert.runs.inputs import load_model
from jaxbert.tasks.registry import AnyTask
from jaxbert.tasks.task import E, P

logger = logging.getLogger("jaxbert")


def predict_rows(
    task_cls: type[AnyTask], options: EvaluationOptions, rows: InMemory | None
) -> list[dict[str, Json]]:
    """A prediction for each row, in their order.

    Args:
        options: of an evaluation; what they name is read where `rows` is None.

    Raises:
        InputError: a row cannot be read, or the model cannot be used.
    """
    task = task_cls(options.part(task_cls.settings_cls))
    if rows is not None:
        data = task.read([rows])
    else:
        files = options.validation_file or ()
        data = task.read((path, task.load(path)) for path in files)
    for line in problem_lines(data.problems):
        logger.info("  %s", line)
    task = task.fit_to(None, None)
    model = load_model(task, options)
    if task.corrupt(model.tokenizer, model.cfg, seed=0) is not None:
        raise InputError(
            f"a {task.name} model predicts what is masked in a text, not rows; use predictor()"
        )
    features = encode_examples(
        task, data.examples, model.tokenizer, model.cfg, **options.encoding()
    )
    arrays = model.predict(
        features,
        task.reduce(),
        size=options.per_device_eval_batch_size * model.compute.parallel.devices,
        buckets=bucket_lengths(options.length_bucket, task.settings.max_seq_length),
    )
    assert arrays is not None  # nothing stops it
    found: list[dict[str, Json]] = []
    for part in task.decode_parts(data.examples, features, arrays, model.cfg):
        found += as_dicts(data.examples[len(found) : len(found) + len(part)], part)
    return found


def as_dicts(examples: Sequence[E], predictions: Sequence[P]) -> list[dict[str, Json]]:
    """Predictions, or examples, with the names of their fields, and with the example's id where it
    has one.

    >>> as_dicts([None], [2.5])
    [{'score': 2.5}]
    """
    ids = [getattr(example, "id", None) for example in examples]
    if len(ids) != len(predictions):  # of a masked language model there is one for each window
        ids = [None] * len(predictions)
    return [
        {**({} if name is None else {"id": name}), **_fields(prediction)}
        for name, prediction in zip(ids, predictions, strict=True)
    ]


def _fields(prediction: P) -> dict[str, Json]:
    if dataclasses.is_dataclass(prediction):
        fields = dataclasses.fields(prediction)
        names = [field.name for field in fields if field.repr and field.name != "where"]
        return {name: _plain(getattr(prediction, name)) for name in names}
    if isinstance(prediction, dict):
        return dict(prediction)
    if not isinstance(prediction, int | float | str):
        raise TypeError(f"a prediction is a dataclass, a dict or one value, not {prediction!r}")
    return {"score": prediction}


def _plain(value: Json) -> Json:
    """Copies of what there is: named tuples and dataclasses as dicts, tuples as lists."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        fields: dict[str, Json] = value._asdict()
        return fields
    if dataclasses.is_dataclass(value):
        return _fields(value)
    if isinstance(value, dict):
        return dict(value)
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
