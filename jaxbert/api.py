"""train and evaluate for Python programs and notebooks: the same runs as those of the scripts."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jaxbert.callbacks.guarded_callbacks import check_callbacks
from jaxbert.cli.foreign_flags import FOREIGN
from jaxbert.cli.migrating import advice
from jaxbert.data.in_memory import InMemory, Paths, Rows, paths_of, rows_in_memory
from jaxbert.errors import InputError
from jaxbert.io.bucket import Bucket, is_address
from jaxbert.io.files import Json
from jaxbert.io.untrusted import shown
from jaxbert.metrics.scores import Metric, Scores
from jaxbert.metrics.user_metrics import user_metrics
from jaxbert.options.dependencies import Function
from jaxbert.options.fields import Settings
from jaxbert.options.keywords import Keyword, make_settings
from jaxbert.options.settings import EvaluationOptions
from jaxbert.options.user_function import UserFunction, user_function
from jaxbert.runs.evaluate import evaluate as evaluate_run
from jaxbert.runs.predict_rows import as_dicts, predict_rows
from jaxbert.runs.saved import options_of_training
from jaxbert.runs.train import train as train_run
from jaxbert.runs.training_inputs import PythonInputs
from jaxbert.runtime.messages import shown_messages
from jaxbert.tasks.registry import TASKS, AnyTask
from jaxbert.tasks.task_commands import TASK_COMMANDS
from jaxbert.training.events import Notify

if TYPE_CHECKING:
    import pandas

    from jaxbert.predictors.fill_mask import FillMask
    from jaxbert.predictors.question_answerer import QuestionAnswerer
    from jaxbert.predictors.tagger import Tagger
    from jaxbert.predictors.text_predictors import TextClassifier, TextRegressor

Record = dict[str, float | str | None]


class History(list[Record]):
    """One record a logged step, as in train_log.jsonl, and one an evaluation, in their order."""

    def to_pandas(self) -> pandas.DataFrame:
        """A row for each record; what a record does not have is NaN."""
        import pandas

        return pandas.DataFrame(list(self))


@dataclasses.dataclass(frozen=True)
class Run:
    """A training that has ended, or that was interrupted and saved.

    Attributes:
        task: its name.
        output_dir: where the model, the checkpoints and the results are; of a bucket the address.
        scores: of the saved model on the validation data; empty without them.
        history: of the whole run, with what was before it was resumed.
        done: False where it was interrupted: the same call resumes it.
    """

    task: str
    output_dir: Path | str
    scores: Scores
    history: History = dataclasses.field(repr=False)
    done: bool

    def predict(self, data: Paths | Rows, *, quiet: bool = True) -> list[dict[str, Json]]:
        """Predictions for rows like those of the training; they need no labels.

        Returns:
            A dict for each row, in their order.

        Raises:
            InputError: a row cannot be read, or the run is not done.
        """
        self._check_done()
        task = TASKS[self.task]
        rows, paths = _source("data", data, "validation_file", ())
        options = _evaluation_options(
            self.task, {"model_name_or_path": self.output_dir, "strict": True, **paths}
        )
        with shown_messages(quiet=quiet):
            return predict_rows(task, options, rows)

    def predictor(self) -> QuestionAnswerer | TextClassifier | TextRegressor | Tagger | FillMask:
        """The saved model as a function.

        Raises:
            InputError: the run is not done, or its task has none.
        """
        from jaxbert.predictors.fill_mask import FillMask
        from jaxbert.predictors.question_answerer import QuestionAnswerer
        from jaxbert.predictors.tagger import Tagger
        from jaxbert.predictors.text_predictors import TextClassifier, TextRegressor

        self._check_done()
        for predictor_cls in (QuestionAnswerer, TextClassifier, TextRegressor, Tagger, FillMask):
            if predictor_cls.task is TASKS[self.task]:
                return predictor_cls.from_pretrained(self.output_dir)
        raise InputError(f"there is no predictor for {self.task}; use predict(rows)")

    def _check_done(self) -> None:
        if not self.done:
            raise InputError(
                f"the run in {self.output_dir} was interrupted and has no model yet; the same call "
                "of train resumes it"
            )


class Evaluation(NamedTuple):
    """What a model has on data.

    Attributes:
        scores: name -> number, or name of a class; empty for data without labels.
        predictions: a dict for each example, in their order.
    """

    scores: Scores
    predictions: list[dict[str, Json]]


def train(
    task: str,
    *,
    model: str | Path | None = None,
    train_data: Paths | Rows | None = None,
    validation_data: Paths | Rows | None = None,
    loss: str | Mapping[str, float] | Function | None = None,
    optim: str | Function | None = None,
    metrics: Sequence[Function | Metric] = (),
    corruption: Function | None = None,
    callbacks: Sequence[Notify] = (),
    quiet: bool = False,
    **settings: Keyword,
) -> Run:
    """Fine-tune a model, or resume the run in `output_dir`; all results are written there.

    The same call again resumes a run that was interrupted or killed; one that is done is not
    trained again. An interrupt (Ctrl-C, or the stop button of a notebook) saves and returns.

    Args:
        task: "qa", "classification", "regression", "multiple_choice", "tagging" or "mlm".
        model: a BERT folder or a Hub name; the same as model_name_or_path.
        train_data, validation_data: paths, a list of dicts, a datasets.Dataset, a pandas DataFrame,
            or an object such as SQuAD's JSON. They are neither used up nor changed.
        loss: a name, "FILE.py:FUNCTION", or a function (outputs, batch) or (apply, params, batch,
            key); see jaxbert.losses.forms. Several by name with their weights: {"focal": 0.5, ...}.
        optim: the optimizer: a name, "FILE.py:FUNCTION", or a function (learning_rate) that gives
            an optax.GradientTransformation; see jaxbert.training.update_rules.
        metrics: functions (predictions, examples) -> a number, two lists of dicts as evaluate's
            predictions are; named by their __name__, or Metric(name, function, lower_is_better).
            Their scores are beside the task's, and metric_for_best_model may name one.
        corruption: a function (row, rng) -> row of a dict of one row's arrays, without padding, and
            a numpy Generator that depends on the seed, the step and the row alone. It gives other
            input_ids of the same shape to each row of each step of the training; for "mlm" also
            labels, the tokens to predict, -100 elsewhere, in place of the task's masks. Evaluations
            are without it. See jaxbert.data.user_corruption.
        callbacks: functions of an event, see jaxbert.training.events; called in the first process.
        quiet: print warnings alone.
        settings: by the names of the flags of train/, such as output_dir and learning_rate.

    Raises:
        InputError: something that was given cannot be used; nothing has been written.
    """
    definition = task_of(task)
    settings |= model_setting(model, settings)
    python_inputs = learned_from(
        settings,
        train_data=train_data,
        validation_data=validation_data,
        loss=loss,
        metrics=metrics,
        corruption=corruption,
    )
    python_inputs = dataclasses.replace(
        python_inputs, optim=given_function("optim", optim, settings)
    )
    options = make_settings(
        TASK_COMMANDS[task].training,
        settings,
        listed_by=f"`jaxbert train {task} --help` lists the options",
        advice=_advice(TASK_COMMANDS[task].training, settings),
    )
    check_callbacks(callbacks)
    folder = place_of_run(options.output_dir)
    with shown_messages(quiet=quiet):
        trained = train_run(definition, options, callbacks=callbacks, python_inputs=python_inputs)
    history = history_of(folder, trained.evaluations)
    return Run(task, folder, trained.scores, history, trained.done)


def evaluate(
    task: str,
    *,
    model: str | Path | None = None,
    data: Paths | Rows | None = None,
    metrics: Sequence[Function | Metric] = (),
    quiet: bool = False,
    **settings: Keyword,
) -> Evaluation:
    """Scores and predictions of a fine-tuned model on data.

    Args:
        task, metrics, quiet: see train.
        model: the folder of a run, or a BERT folder or Hub name with the task's head; the same as
            model_name_or_path.
        data: as train's; the same as validation_file where they are paths.
        settings: by the names of the flags of eval/. What is not given is as the model was trained;
            with output_dir the results are written there too.

    Raises:
        InputError: something that was given cannot be used; nothing has been written.
    """
    definition = task_of(task)
    named = [name for name, value in settings.items() if value is not None]
    rows, paths = _source("data", data, "validation_file", named)
    options = _evaluation_options(task, {**settings, **model_setting(model, settings), **paths})
    added = user_metrics(metrics)
    with shown_messages(quiet=quiet):
        found = evaluate_run(definition, options, rows, added)
    return Evaluation(found.scores, as_dicts(found.examples, found.predictions))


def learned_from(
    into: dict[str, Keyword],
    *,
    train_data: Paths | Rows | None,
    validation_data: Paths | Rows | None,
    loss: str | Mapping[str, float] | Function | None,
    metrics: Sequence[Function | Metric],
    corruption: Function | None,
) -> PythonInputs:
    """What a program gives to a task beside its settings.

    Args:
        into: the settings, which take names and paths of what is given.
        train_data, validation_data, loss, metrics, corruption: see train.
    """
    named = [name for name, value in into.items() if value is not None]
    train_rows, train_paths = _source("train_data", train_data, "train_file", named)
    held_out_rows, held_out_paths = _source(
        "validation_data", validation_data, "validation_file", named
    )
    into |= {**train_paths, **held_out_paths}
    if isinstance(loss, Mapping):
        loss = " ".join(f"{name}:{weight!r}" for name, weight in loss.items())
    return PythonInputs(
        train_rows,
        held_out_rows,
        given_function("loss", loss, into),
        metrics=user_metrics(metrics),
        corruption=None if corruption is None else user_function(corruption, "corruption"),
    )


def place_of_run(output_dir: str | None) -> Path | str:
    """Where a run is; absolute, so that it is found from another working directory too."""
    folder: Path | str = output_dir or ""
    return folder if is_address(folder) else Path(folder).expanduser().absolute()


def given_function(
    name: str, value: str | Function | None, into: dict[str, Keyword]
) -> UserFunction | None:
    """A function of the program; its name, or that of another one, goes into the settings."""
    if value is None:
        return None
    if isinstance(value, str):
        into[name] = value
        return None
    function = user_function(value, f"--{name}", or_file=True)
    into[name] = function.name
    return function


def task_of(name: str) -> type[AnyTask]:
    """The task of that name.

    Raises:
        InputError: there is none.
    """
    if not isinstance(name, str) or name not in TASKS:
        raise InputError(f"there is no task {shown(repr(name))}; there are {', '.join(TASKS)}")
    return TASKS[name]


def model_setting(model: str | Path | None, beside: Mapping[str, Keyword]) -> dict[str, Keyword]:
    """The setting of the argument `model`.

    Args:
        beside: the settings that are given.
    """
    if model is None:
        return {}
    if beside.get("model_name_or_path") is not None:
        raise InputError("model and model_name_or_path are the same; give one of them")
    return {"model_name_or_path": model}


def _source(
    name: str, data: Paths | Rows | None, flag: str, named: Collection[str]
) -> tuple[InMemory | None, dict[str, Keyword]]:
    """Rows in memory, or where they are paths the setting of these.

    Args:
        name: of the argument.
        flag: of the setting.
        named: the settings that have a value.
    """
    if data is None:
        return None, {}
    for other in (flag, "dataset_name"):
        if other in named:
            raise InputError(f"{name} and {other} both name data; give one of them")
    paths = paths_of(data)
    missing = next((p for p in paths or () if p and not _exists(p)), None)
    if missing is not None:
        raise InputError(
            f"{name}: {shown(missing)}: no such file; give paths of files, or rows as a list of "
            "dicts, one per row"
        )
    return (rows_in_memory(data, name), {}) if paths is None else (None, {flag: paths})


def _exists(path: str) -> bool:
    if is_address(path):  # reading it tells
        return True
    try:
        return Path(path).expanduser().exists()
    except OSError:  # too long for a name: a text
        return False


def _evaluation_options(task: str, given: Mapping[str, Keyword]) -> EvaluationOptions:
    definition = TASKS[task]
    return make_settings(
        TASK_COMMANDS[task].evaluation,
        given,
        defaults=lambda options: options_of_training(definition, options),
        listed_by=f"`jaxbert eval {task} --help` lists the options",
        advice=_advice(TASK_COMMANDS[task].evaluation, given),
    )


def _advice(
    cls: type[Settings], given: Mapping[str, Keyword]
) -> Callable[[Collection[str]], Mapping[str, str]]:
    """What to give instead of flags of other scripts, as the command line knows them."""
    return functools.partial(advice, cls, FOREIGN, {n: str(x) for n, x in given.items()})


def history_of(folder: Path | str, evaluations: Sequence[Mapping[str, float | str]]) -> History:
    """What the log of a run has, and its evaluations, each behind the step that it is after."""
    lines = []
    if is_address(folder):
        lines = (Bucket(str(folder)).read("train_log.jsonl") or b"").decode().splitlines()
    elif (log := Path(folder, "train_log.jsonl")).exists():
        lines = log.read_text(encoding="utf-8").splitlines()
    records: list[Record] = [json.loads(line) for line in lines]
    records += [{**evaluation} for evaluation in evaluations]
    return History(sorted(records, key=lambda record: float(record["step"] or 0)))
