"""The first phase of a training: all that it is made of, read and checked; nothing is written."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Generic

import jax

from jaxbert.data.features import Features
from jaxbert.data.in_memory import InMemory
from jaxbert.data.packing import Sampler
from jaxbert.data.sampling import bucket_lengths
from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.loaded.model import LoadedModel
from jaxbert.losses.choose import ChosenLoss
from jaxbert.metrics.scores import LOSS, Scores
from jaxbert.metrics.user_metrics import UserMetric
from jaxbert.model.config import config_to_dict
from jaxbert.model.heads import Params
from jaxbert.options.settings import TrainingOptions
from jaxbert.options.user_function import UserFunction
from jaxbert.runs.evaluate import Evaluator, show_scores
from jaxbert.runs.folder import RunFolder
from jaxbert.runs.inputs import (
    encode_examples,
    keep_learnable,
    load_model,
    read_examples,
    read_held_out,
)
from jaxbert.runs.plan import best_metrics, make_sampler, total_steps
from jaxbert.runs.record import Request, RunRecord, fingerprint_of
from jaxbert.runs.teacher import Teacher, load_teacher
from jaxbert.runtime import processes
from jaxbert.runtime.compiled import keep_compiled
from jaxbert.tasks.task import E, P, S, Task
from jaxbert.training.optim import is_frozen
from jaxbert.training.parallel import Parallel, rows_for
from jaxbert.training.progress import Plan

logger = logging.getLogger("jaxbert")


@dataclasses.dataclass(frozen=True)
class PythonInputs:
    """What a Python program gives in place of what the options name.

    Attributes:
        train, validation: rows.
        loss: a function; options.loss has its name.
        metrics: after the task's own.
        corruption: of each row's tokens, in place of what the task does with them.
    """

    train: InMemory | None = None
    validation: InMemory | None = None
    loss: UserFunction | None = None
    metrics: Sequence[UserMetric] = ()
    corruption: UserFunction | None = None

    def functions(self) -> dict[str, Json]:
        """What the run's record has of the functions beside the loss."""
        found: dict[str, Json] = {
            f"metrics {m.name}": {"source": m.function.source, "values": m.values()}
            for m in self.metrics
        }
        if self.corruption is not None:
            source, values = self.corruption.source, self.corruption.values
            found["corruption"] = {"source": source, "values": values}
        return found


class Validation(Generic[S, E, P]):
    """What the last evaluation of the held-out examples gave."""

    def __init__(self, evaluator: Evaluator[S, E, P]) -> None:
        self._evaluator = evaluator
        self.step = -1
        self.scores: Scores = {}
        self.predictions: Sequence[P] = []

    def __call__(
        self, params: Params, step: int, stopped: Callable[[], bool] = lambda: False
    ) -> Scores | None:
        result = self._evaluator(params, stopped)
        if result is None:
            return None
        (self.scores, self.predictions), self.step = result, step
        logger.info("step %d: %s", step, show_scores(self.scores))
        return self.scores


@dataclasses.dataclass(frozen=True)
class Inputs(Generic[S, E, P]):
    """All that a run is made of, read and checked.

    Attributes:
        features: of `examples`, those from which something can be learned.
        held_out: the validation examples; None without any.
        record: of this run, for its folder, with all options as the data have decided them.
    """

    task: Task[S, E, P]
    loss: ChosenLoss
    model: LoadedModel
    examples: Sequence[E]
    features: Features
    sampler: Sampler
    plan: Plan
    held_out: Sequence[E] | None
    validation: Validation[S, E, P] | None
    teacher: Teacher | None
    corruption: UserFunction | None
    record: RunRecord

    @property
    def parallel(self) -> Parallel:
        """The devices."""
        return self.model.compute.parallel


def read_inputs(
    task: Task[S, E, P],
    options: TrainingOptions,
    loss: ChosenLoss,
    run: RunFolder,
    request: Request | None,
    python_inputs: PythonInputs,
) -> Inputs[S, E, P]:
    """Examples, model, features, the order of batches and the plan; compared with the record of the
    run that is resumed, if there is one."""
    if options.compilation_cache_dir:
        keep_compiled(options.compilation_cache_dir)
    source = options.training_source()
    data = read_examples(task, source, python_inputs.train)
    if data is None:
        raise InputError("give --train_file or --dataset_name, the data to train on")
    held_out = read_held_out(
        task, options.validation_source(), python_inputs.validation, options.comparing_models
    )
    if held_out is None and python_inputs.metrics:
        raise InputError("metrics: give validation_data, on which they are computed")
    task = task.fit_to(data.examples, held_out)
    fitted = {name: value for name, value in vars(task.settings).items() if name in vars(options)}
    record = RunRecord.of(
        task.name,
        dataclasses.replace(options, **fitted),
        loss=loss.source,
        loss_values=loss.values,
        functions=python_inputs.functions(),
        job=processes.job(),
        request=request,
    )
    # Before anything is read that takes long.
    previous = run.find(record, teacher=loss.args.get("teacher"))

    model = load_model(task, options, data, seed=options.seed, packing=options.packing)
    added = {m.name for m in python_inputs.metrics}
    if not added.issuperset(best_metrics((), options.metric_for_best_model)):
        task.check_metric(options.metric_for_best_model, data.examples, model.cfg)
    parallel = model.compute.parallel
    if names := model.cfg.id2label:
        shown = ", ".join(names[:12]) + ", ..." * (len(names) > 12)
        logger.info("  %d outputs: %s", len(names), shown)
    _check_freeze(model.params, options.freeze or ())
    features = encode_examples(task, data.examples, model.tokenizer, model.cfg)
    features = keep_learnable(
        features, source.label if python_inputs.train is None else python_inputs.train.origin
    )
    sampler = make_sampler(
        features.lengths,
        width=model.cfg.hidden_size,
        parts=parallel.devices * options.gradient_accumulation_steps,
        per_device_train_batch_size=options.per_device_train_batch_size,
        gradient_accumulation_steps=options.gradient_accumulation_steps,
        packing=options.packing,
        max_seq_length=task.settings.max_seq_length,
        length_bucket=options.length_bucket,
        seed=options.seed,
        record=previous,
        platform=model.compute.target.platform,
    )
    rows_for(sampler.rows, parallel, options.gradient_accumulation_steps)
    lower = {m.name for m in task.metrics if m.lower_is_better}
    lower |= {m.name for m in python_inputs.metrics if m.lower_is_better}
    plan = Plan(
        total=total_steps(options.num_train_epochs, options.max_steps, sampler.steps_per_epoch),
        log_every=options.logging_steps,
        eval_every=options.eval_steps or sampler.steps_per_epoch,
        save_every=options.save_steps or sampler.steps_per_epoch,
        patience=options.early_stopping_patience,
        max_skipped=options.max_nonfinite_steps,
        metrics=best_metrics([m.name for m in task.metrics], options.metric_for_best_model),
        lower_is_better=frozenset({LOSS, *lower}),
        may_lack=frozenset({LOSS, *added}),
        keeps_best=options.load_best_model_at_end,
    )
    validation = None
    if held_out is not None:
        validation = _make_validation(
            task,
            model,
            held_out,
            per_device_eval_batch_size=options.per_device_eval_batch_size,
            length_bucket=options.length_bucket,
            metrics=python_inputs.metrics,
        )
        if plan.metrics == (LOSS,) and not any(map(task.learnable, held_out)):
            raise InputError(
                f"--metric_for_best_model {options.metric_for_best_model}: the validation data "
                "have no example whose label is known and found, so they have no eval_loss; give "
                "another score"
            )
    teacher = _teacher_of(loss, task, model)
    prints = _fingerprints(model, features, held_out, teacher)
    processes.check_alike("data", prints)
    processes.check_alike("losses", [loss.source, dict(loss.values)])
    processes.check_alike("functions", python_inputs.functions())
    record = dataclasses.replace(
        record, rows_per_step=sampler.rows, row_length=max(sampler.buckets), data=prints
    )
    run.check(record, user_loss=loss.user_defined)
    return Inputs(
        task=task,
        loss=loss,
        model=model,
        examples=data.examples,
        features=features,
        sampler=sampler,
        plan=plan,
        held_out=held_out,
        validation=validation,
        teacher=teacher,
        corruption=python_inputs.corruption,
        record=record,
    )


def _make_validation(
    task: Task[S, E, P],
    model: LoadedModel,
    held_out: Sequence[E],
    *,
    per_device_eval_batch_size: int,
    length_bucket: int,
    metrics: Sequence[UserMetric],
) -> Validation[S, E, P]:
    """The evaluation of the held-out examples, its user-defined metrics tried."""
    parallel = model.compute.parallel
    evaluator = Evaluator(
        task,
        model,
        held_out,
        encode_examples(task, held_out, model.tokenizer, model.cfg),
        size=per_device_eval_batch_size * parallel.devices,
        buckets=bucket_lengths(length_bucket, task.settings.max_seq_length),
        metrics=metrics,
    )
    if metrics:
        evaluator.try_metrics(parallel.replicate(model.params))
    return Validation(evaluator)


def _fingerprints(
    model: LoadedModel,
    features: Features,
    held_out: Collection[Hashable] | None,
    teacher: Teacher | None,
) -> dict[str, str]:
    """What identifies the data of a run, by name, for its record."""
    # The problem type is in the data's own fingerprint, and earlier versions did not keep it.
    shape = config_to_dict(dataclasses.replace(model.cfg, problem_type=None))
    prints = {"train": features.fingerprint(), "model": fingerprint_of(shape)}
    if held_out is not None:
        prints["validation"] = fingerprint_of(held_out)
    if teacher is not None:
        prints["teacher"] = teacher.fingerprint()
    return prints


def _check_freeze(params: Params, freeze: Sequence[str]) -> None:
    paths = [p for p, _ in jax.tree_util.tree_leaves_with_path(params)]
    names = [tuple(str(part.key) for part in path) for path in paths]
    for name in freeze:
        if not any(is_frozen(path, [name]) for path in names):
            modules = sorted({part for path in names for part in path[:2]})
            raise InputError(f"--freeze {name}: no such module; there are {', '.join(modules)}")
    if freeze and all(is_frozen(path, freeze) for path in names):
        raise InputError("--freeze leaves nothing to train")


def _teacher_of(loss: ChosenLoss, task: Task[S, E, P], student: LoadedModel) -> Teacher | None:
    """The model that the loss's options name, if they do."""
    if "teacher" not in loss.args:
        return None
    first = None if loss.user_defined else bool(loss.args.get("hidden"))
    return load_teacher(loss.args["teacher"], task, student, first=first)
