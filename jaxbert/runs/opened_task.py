"""What a training loop of one's own begins with: a task opened, a state that is checkpointed."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import optax

from jaxbert.data.batch import Batch
from jaxbert.data.batch_source import BatchSource
from jaxbert.data.in_memory import Paths, Rows, paths_of, rows_in_memory
from jaxbert.data.rows_of_windows import row_lengths
from jaxbert.data.sampling import BucketSampler, bucket_lengths
from jaxbert.errors import InputError
from jaxbert.io.untrusted import shown
from jaxbert.loaded.model import LoadedModel
from jaxbert.losses.choose import choose_loss, with_keywords
from jaxbert.losses.forms import AnyLoss, Measure
from jaxbert.model.heads import Apply, Params
from jaxbert.options.fields import Value
from jaxbert.options.keywords import make_settings
from jaxbert.options.settings import ModelOptions
from jaxbert.options.source_settings import Source
from jaxbert.runs.encoding import encode_to_learn
from jaxbert.runs.inputs import load_model, read_examples
from jaxbert.tasks.registry import TASKS
from jaxbert.training.checkpoint import Checkpoints
from jaxbert.training.parallel import CompiledStep, make_parallel
from jaxbert.training.step import TrainState, init_state, make_train_step
from jaxbert.training.step_folders import LocalSteps

Save = Callable[[TrainState], TrainState]


@dataclasses.dataclass(frozen=True)
class OpenedTask:
    """What a loop trains a task with.

    Attributes:
        model: with the task's head, drawn where the folder has none.
        source: the batches on the host, each a pure function of the seed and its number from 0.
        apply: the model in training, as make_apply has it.
        loss: the task's default loss, (outputs, batch) -> (sum, weight).
        measure: what is reported beside it; None where there is nothing.
    """

    model: LoadedModel
    source: BatchSource
    apply: Apply
    loss: AnyLoss
    measure: Measure | None

    def batch(self, number: int) -> Batch[jax.Array]:
        """A batch on the devices."""
        return self.model.compute.parallel.shard(self.source.batch(number))

    def make_step(
        self, tx: optax.GradientTransformation, apply: Apply | None = None
    ) -> CompiledStep:
        """The compiled step (state, batch, key) -> (state, metrics); see make_train_step.

        Args:
            apply: in place of the task's own, of other parameters.
        """
        parallel = self.model.compute.parallel
        step = make_train_step(
            apply or self.apply,
            self.loss,
            tx,
            measure=self.measure,
            axis_name=parallel.axis_name,
            mesh=parallel.mesh,
        )
        return parallel.compile_train(step)


def open_task(
    name: str,
    model: str | Path,
    train_data: Paths | Rows,
    rows: int,
    *,
    seed: int = 0,
    length_bucket: int = 32,
    **own: Value,
) -> OpenedTask:
    """A task with its training data, encoded, and a model on all devices of this process.

    Args:
        name: of the task, as jaxbert.train takes it.
        model: a BERT folder or a Hub name.
        train_data: paths, or rows as jaxbert.train takes them.
        rows: of a batch, over all devices; a multiple of their number.
        seed: of the order of the data, of what the task draws, and of a head that is new.
        length_bucket: rows are padded to multiples of this; 0 pads all to max_seq_length.
        own: the task's settings, such as max_seq_length.

    Raises:
        InputError: something that was given cannot be used.
    """
    if name not in TASKS:
        raise InputError(f"there is no task {shown(repr(name))}; there are {', '.join(TASKS)}")
    task_cls = TASKS[name]
    task = task_cls(make_settings(task_cls.settings_cls, own))
    paths = paths_of(train_data)
    given = None if paths is not None else rows_in_memory(train_data, "train_data")
    source = Source(
        training=True,
        files=paths,
        dataset_name=None,
        dataset_config_name=None,
        validation_split=None,
        limit=None,
    )
    data = read_examples(task, source, given)
    assert data is not None  # there are files or rows
    task = task.fit_to(data.examples, None)
    loaded = load_model(task, ModelOptions(model_name_or_path=str(model)), data, seed=seed)
    devices = loaded.compute.parallel.devices
    if rows < 1 or rows % devices:
        raise InputError(f"rows: {rows} is no multiple of the {devices} devices")
    features = task.as_rows(
        encode_to_learn(task, data.examples, loaded.tokenizer, loaded.cfg, "train_data")
    )
    buckets = bucket_lengths(length_bucket, task.settings.max_seq_length)
    loss = choose_loss(task.losses, next(iter(task.losses)))
    return OpenedTask(
        loaded,
        BatchSource(
            features,
            BucketSampler(
                features.lengths,
                rows,
                seed,
                row_lengths(length_bucket, task.settings.max_seq_length, task.windows_in_row),
            ),
            task.corrupt(loaded.tokenizer, loaded.cfg, seed=seed),
            devices=devices,
        ),
        loaded.train_apply(buckets),
        with_keywords(loss, task.loss_keywords(loaded.cfg)).function,
        task.measure(),
    )


@contextlib.contextmanager
def checkpointed(
    folder: str | Path, params: Params, tx: optax.GradientTransformation
) -> Iterator[tuple[int, TrainState, Save]]:
    """The state to train from, on all devices of this process: that of the folder's newest whole
    checkpoint, or the first one. At the end of the block every checkpoint is whole.

    Args:
        folder: of the checkpoints, made where it is not there.
        params: to begin with, on the host.
        tx: the optimizer.

    Yields:
        How many steps have been done, the state, and a function that saves a state and returns it
        on the host. The last two checkpoints are kept.

    Raises:
        InputError: the checkpoints are of another model or optimizer, or none of them is whole.
    """
    parallel = make_parallel()
    with contextlib.closing(Checkpoints(LocalSteps(Path(folder)))) as checkpoints:
        state: TrainState = jax.device_get(init_state(params, tx))
        newest = checkpoints.newest()
        if newest is not None:
            state, _ = checkpoints.restore(newest, state)

        def save(state: TrainState) -> TrainState:
            host = parallel.fetch(state)
            checkpoints.save(host, {})
            return host

        yield newest or 0, parallel.spread(state), save
