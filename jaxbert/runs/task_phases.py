"""What a run does of each of its tasks: batches and loss before the steps, results after them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from jaxbert.data.batch_source import BatchSource
from jaxbert.data.sampling import bucket_lengths
from jaxbert.io.files import JsonFile
from jaxbert.losses.check import try_loss
from jaxbert.losses.choose import with_keywords
from jaxbert.losses.own_params import of_model, with_loss_params
from jaxbert.metrics.scores import Scores
from jaxbert.model.heads import Params
from jaxbert.options.source_settings import OwnColumns
from jaxbert.runs.folder import RunFolder
from jaxbert.runs.run_step import corruption_of, run_key
from jaxbert.runs.saved import card_of, name_of
from jaxbert.runs.teacher import with_teacher
from jaxbert.runs.training_inputs import Inputs
from jaxbert.tasks.task import E, P, S

logger = logging.getLogger("jaxbert")


def learned_by(
    inputs: Inputs[S, E, P],
    *,
    seed: int,
    dtype: str,
    packing: bool,
    length_bucket: int,
    own_columns: OwnColumns,
) -> tuple[BatchSource, Params]:
    """The batches of a task, and the parameters of its model and loss, the loss tried on a batch.

    Args:
        own_columns: of the training data, that the task does not know.

    Raises:
        InputError: the loss cannot be used.
    """
    task, model, parallel = inputs.task, inputs.model, inputs.parallel
    features = inputs.features
    if inputs.teacher is not None:
        features = with_teacher(
            features,
            inputs.teacher,
            task.token_outputs,
            size=inputs.batch_size * parallel.devices,
            buckets=bucket_lengths(length_bucket, task.settings.max_seq_length),
        )
    lengths = inputs.window_lengths
    logger.info("  attention by %s: %s", *model.attention_for(lengths, train=True))
    source = BatchSource(
        features,
        inputs.sampler,
        corruption_of(task, model, inputs.features, inputs.corruption, seed),
        inputs.accumulation,
        _ids_of(inputs.examples),
        parallel.devices,
    )
    loss = with_keywords(inputs.loss, task.loss_keywords(model.cfg))
    tried = {0}
    if features.window is not None:  # the longest rows have several windows, and another form
        steps = range(inputs.sampler.steps_per_epoch)
        lengths_of = [inputs.sampler.batch(step)[1] for step in steps]
        tried = {int(np.argmin(lengths_of)), int(np.argmax(lengths_of))}
    params = with_loss_params(model.params, loss, model.cfg, seed=seed)
    try_loss(
        loss,
        model.train_apply(lengths),
        params,
        [
            {n: x[0][: x.shape[1] // parallel.devices] for n, x in source.batch(step).items()}
            for step in sorted(tried)
        ],
        features,
        source.row_lengths,
        source.corruption,
        run_key(seed),
        packing=packing,
        own_columns=_columns_for_loss(own_columns),
        tolerance=1e-3 if dtype == "float32" else 2e-2,
    )
    return source, params


def _columns_for_loss(names: OwnColumns) -> list[str]:
    """The keys of a batch that only a user's loss reads."""
    return [*names.extra, *["view_input_ids"] * (names.view is not None)]


def _ids_of(examples: Sequence[E]) -> Callable[[int], str] | None:
    """The id of an example by its position, where examples have ids; none is read before."""

    def id_of(index: int) -> str:
        example = examples[index]
        assert hasattr(example, "id")
        return str(example.id)

    return id_of if hasattr(examples[0], "id") else None


def write_task(run: RunFolder, inputs: Inputs[S, E, P], params: Params, step: int) -> Scores:
    """The model, its scores, the task's files and a card; returns the scores.

    Args:
        params: of the model and its loss, on the host.
        step: that they are of; evaluated now, where they have not been before.
    """
    task, model = inputs.task, inputs.model
    run.save_model(model, {**params, **task.export(of_model(params))})
    scores: Scores = {}
    files: dict[str, JsonFile] = {}
    validation = inputs.validation
    if validation is not None:
        if validation.step != step:
            validation(inputs.parallel.replicate(params), step)
        scores = validation.scores
        files = task.artifacts(inputs.held_out or (), validation.predictions, model.cfg)
    run.write_results(scores, files)
    run.save_card(card_of(name_of(str(run.place)), inputs.record, scores))
    return scores
