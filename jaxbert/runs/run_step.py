"""The step of a run, before it is compiled, and what is done to its batches."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import jax
import optax

from jaxbert.data.batch import Batch
from jaxbert.data.batch_source import Corruption
from jaxbert.data.features import Features
from jaxbert.data.shared_batches import task_of
from jaxbert.data.user_corruption import UserCorruption, check_corruption
from jaxbert.loaded.model import LoadedModel
from jaxbert.loaded.shared_encoder import SharedEncoder
from jaxbert.losses.choose import ChosenLoss, with_keywords
from jaxbert.losses.forms import Arrays, Parts, objective_of
from jaxbert.model.params import Params
from jaxbert.options.keyword_groups import OptimizerKeywords, ScheduleKeywords
from jaxbert.options.user_function import UserFunction
from jaxbert.runs.plan import warmup_of
from jaxbert.tasks.task import E, P, S, Task
from jaxbert.training.choose_optimizer import ChosenOptimizer
from jaxbert.training.optim import Schedule, make_schedule
from jaxbert.training.optimizers import make_optimizer
from jaxbert.training.parallel import Parallel
from jaxbert.training.step import Learned, TrainState, TrainStep, step_of


def run_key(seed: int) -> jax.Array:
    """The key of a run's steps."""
    return jax.random.fold_in(jax.random.key(seed), 1)


def make_rule(
    optimizer: ChosenOptimizer,
    total: int,
    schedule: ScheduleKeywords,
    around: OptimizerKeywords,
) -> tuple[Schedule, optax.GradientTransformation]:
    """The learning rate by step, and the optimizer with all that is around it.

    Args:
        total: steps of the run.
    """
    warmup = warmup_of(schedule["warmup_steps"], schedule["warmup_ratio"], total)
    rate = make_schedule(
        schedule["peak"], steps=total, warmup_steps=warmup, decay=schedule["decay"]
    )
    return rate, make_optimizer(optimizer.rule, rate, steps=total, **around)


def make_step(
    task: Task[S, E, P],
    model: LoadedModel,
    loss: ChosenLoss,
    tx: optax.GradientTransformation,
    lengths: Sequence[int],
    *,
    accumulate: int,
    frozen: Sequence[str],
    unfreeze_step: int | None,
    remat: bool,
    scan: bool,
) -> TrainStep:
    """One step of training.

    Args:
        lengths: of rows.
        accumulate: micro-batches.
        frozen, unfreeze_step: see make_optimizer.
        remat, scan: see LoadedModel.train_apply.
    """
    return step_of(
        learned_of(task, model, loss, lengths, remat=remat, scan=scan),
        model.compute.parallel.placed(tx),
        accumulate=accumulate,
        frozen=frozen,
        unfreeze_step=unfreeze_step,
        axis_name=model.compute.parallel.axis_name,
        mesh=model.compute.parallel.mesh,
    )


def learned_of(
    task: Task[S, E, P],
    model: LoadedModel,
    loss: ChosenLoss,
    lengths: Sequence[int],
    *,
    remat: bool,
    scan: bool,
) -> Learned:
    """What is learned of a task, as a function of the parameters of its model and loss.

    Args:
        lengths, remat, scan: see make_step.
    """
    function = with_keywords(loss, task.loss_keywords(model.cfg)).function
    apply = model.train_apply(lengths, remat=remat, scan=scan)
    return functools.partial(objective_of(function, task.measure()), apply)


def make_shared_step(
    learned: Mapping[str, Learned],
    shared: SharedEncoder,
    tx: optax.GradientTransformation,
    parallel: Parallel,
    *,
    accumulate: int,
    frozen: Sequence[str],
    unfreeze_step: int | None,
) -> TrainStep:
    """One step of training of several tasks: of the task whose batch it gets, see task_of.

    What is reported has the task's name before it, and the loss is there so, too.

    Args:
        learned: of each task, as a function of its own parameters.
        accumulate, frozen, unfreeze_step: see make_step.
    """

    def objective(
        params: Params, batch: Batch[jax.Array], key: jax.Array, step: jax.Array
    ) -> Parts:
        name = task_of(batch)
        parts = learned[name](shared.of_task(params, name), batch, key, step)
        return parts._replace(reported={f"{name}.{n}": x for n, x in parts.reported.items()})

    step = step_of(
        objective,
        parallel.placed(tx),
        accumulate=accumulate,
        frozen=frozen,
        unfreeze_step=unfreeze_step,
        axis_name=parallel.axis_name,
        mesh=parallel.mesh,
    )

    def train_step(
        state: TrainState, batch: Batch[jax.Array], key: jax.Array
    ) -> tuple[TrainState, Arrays]:
        state, metrics = step(state, batch, key)
        return state, {**metrics, f"{task_of(batch)}.loss": metrics["loss"]}

    return train_step


def corruption_of(
    task: Task[S, E, P],
    model: LoadedModel,
    features: Features,
    given: UserFunction | None,
    seed: int,
) -> Corruption | None:
    """What is done to every batch: the function that was given, tried, or else what the task does.

    Raises:
        InputError: the function cannot be used.
    """
    of_task = task.corrupt(model.tokenizer, model.cfg, seed=seed)
    if given is None:
        return of_task
    corruption = UserCorruption(
        given,
        seed=seed,
        of_tokens=tuple(features.tokens),
        of_rows=tuple(features.rows),
        special_ids=tuple(model.tokenizer.all_special_ids),
        vocab_size=model.cfg.vocab_size,
        predicts=of_task is not None,
        of_windows=features.window is not None,
    )
    check_corruption(corruption, features)
    return corruption
