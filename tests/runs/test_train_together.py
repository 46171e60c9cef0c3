"""Several tasks in one run: the steps are those of its parts, it resumes, each task has a model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file
from scripts import process, read, weights

import jaxbert
from jaxbert.cli import main
from jaxbert.data.task_shares import TaskShares
from jaxbert.errors import InputError
from jaxbert.loaded.shared_encoder import SharedEncoder
from jaxbert.runs.opened_task import checkpointed, open_task
from jaxbert.together import TogetherRun
from jaxbert.training.events import Event, Logged
from jaxbert.training.optim import adamw, make_schedule

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("compilations")]

WORDS = ["the", "of", "and", "in", "what", "which", "who", "is", "was", "to", "at"]
TEXTS = [" ".join(WORDS[n % 5 : n % 5 + 2 + n % 7]) for n in range(24)]
ROWS = [{"text": text, "label": "ab"[n % 2]} for n, text in enumerate(TEXTS)]
TAGGED = [
    {"tokens": text.split(), "ner_tags": ["O", "B-X"][n % 2 :][:1] * len(text.split())}
    for n, text in enumerate(TEXTS)
]
TASKS: dict[str, dict[str, Any]] = {
    "classification": {"share": 2, "train_data": ROWS, "validation_data": ROWS[:8]},
    "tagging": {"train_data": TAGGED, "validation_data": TAGGED[:8]},
}
OWN = {"max_seq_length": 10, "length_bucket": 8, "per_device_train_batch_size": 1}
STEPS = 7
COMMON: dict[str, Any] = {"max_steps": STEPS, "learning_rate": 1e-3, "seed": 5, "quiet": True}


def tasks(**more: Any) -> dict[str, dict[str, Any]]:
    return {name: {**given, **OWN, **more} for name, given in TASKS.items()}


def train(model: Path, folder: Path, given: Any = None, **more: Any) -> TogetherRun:
    given = tasks() if given is None else given
    return jaxbert.train_together(given, model=model, output_dir=folder, **{**COMMON, **more})


@pytest.fixture(scope="module")
def whole(tiniest_folder: Path, compilations: None, tmp_path_factory: Any) -> TogetherRun:
    """A run that was never disturbed, with checkpoints and evaluations on the way."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return train(tiniest_folder, folder, save_steps=2, eval_steps=3)


def tensors(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    return {name: load_file(folder / name / "model.safetensors") for name in TASKS}


def assert_equal_models(one: Path, other: Path) -> None:
    assert [weights(one / name) for name in TASKS] == [weights(other / name) for name in TASKS]


def call(*words: str) -> int:
    """What `jaxbert` does with the words, in this process."""
    assert main.answer(words) is None
    return main.start(words)


def refuses(*words: str) -> str:
    with pytest.raises(InputError) as caught:
        call(*words)
    message = str(caught.value)
    assert "\n" not in message
    return message


def without_times(history: list[Any]) -> list[Any]:
    return [
        {n: x for n, x in record.items() if not n.endswith("_per_second")} for record in history
    ]


# --- what is computed -------------------------------------------------------------------------


def test_the_steps_are_those_of_a_loop_of_the_parts(
    tiniest_folder: Path, whole: TogetherRun, tmp_path: Path
) -> None:
    """As docs/research/two_tasks.py puts them together."""
    opened = {
        name: open_task(
            name,
            tiniest_folder,
            given["train_data"],
            jax.device_count(),
            seed=5,
            length_bucket=8,
            max_seq_length=10,
        )
        for name, given in TASKS.items()
    }
    shared = SharedEncoder({name: task.model for name, task in opened.items()})
    tx = adamw(make_schedule(1e-3, steps=STEPS))
    steps = {n: task.make_step(tx, shared.apply(n, task.apply)) for n, task in opened.items()}
    turns, key = TaskShares({"classification": 2, "tagging": 1}, 5), jax.random.key(5)
    losses = []
    with checkpointed(tmp_path / "kept", shared.params, tx) as (_, state, save):
        for number in range(STEPS):
            name, of_task = turns.draw(number)
            batch, run_key = opened[name].batch(of_task), jax.random.fold_in(key, 1)
            state, metrics = steps[name](state, batch, run_key)
            losses.append((f"{name}.loss", float(np.ravel(metrics["loss"])[0])))
        shared.save(tmp_path, save(state).params)
    logged = [record for record in whole.history if "grad_norm" in record]
    assert [(n, record[n]) for (n, _), record in zip(losses, logged, strict=True)] == losses
    assert [record["loss"] for record in logged] == [loss for _, loss in losses]
    assert {name for name, _ in losses} == {"classification.loss", "tagging.loss"}
    for name, own in tensors(tmp_path).items():
        found = tensors(Path(whole.output_dir))[name]
        assert own.keys() == found.keys()
        for leaf, x in own.items():
            np.testing.assert_array_equal(found[leaf], x)


def test_the_tasks_have_one_encoder_and_a_folder_each(whole: TogetherRun) -> None:
    one, other = tensors(Path(whole.output_dir)).values()
    encoder = [n for n in one if n in other and not n.startswith("classifier")]
    assert len(encoder) > 10
    for name in encoder:
        np.testing.assert_array_equal(one[name], other[name])
    assert "bert.pooler.dense.weight" in one
    assert "bert.pooler.dense.weight" not in other
    folder = Path(whole.output_dir)
    there = {"options.json", "checkpoints", "train_log.jsonl", "metrics.json", "report.html"}
    assert {p.name for p in folder.iterdir()} - {".lock"} == there | set(TASKS)
    for name, given in TASKS.items():
        card = (folder / name / "README.md").read_text()
        assert "jaxbert train together \\\n    --tasks classification:2 tagging:1" in card
        assert f"--{name}.max_seq_length 10" in card
        assert (folder / name / "report.html").exists()
        run = whole.tasks[name]
        assert read(folder / name / "metrics.json") == run.scores
        # What an evaluation takes by default, such as the length of rows, is the training's.
        found = jaxbert.evaluate(name, model=folder / name, data=given["validation_data"])
        assert found.scores == run.scores
        assert len(run.predict(given["validation_data"])) == 8
        assert callable(run.predictor())
    assert read(folder / "metrics.json") == whole.scores
    mean = 2 * whole.scores["classification.eval_loss"] + whole.scores["tagging.eval_loss"]  # type: ignore[operator]
    assert whole.scores["eval_loss"] == mean / 3
    evaluated = [record["step"] for record in whole.history if "tagging.f1" in record]
    assert evaluated == [3, 6, 7]


def assert_close(one: TogetherRun, other: TogetherRun) -> None:
    for name, x in one.scores.items():
        assert other.scores[name] == (x if isinstance(x, str) else pytest.approx(x, rel=1e-5))
    first, second = tensors(Path(one.output_dir)), tensors(Path(other.output_dir))
    for name in TASKS:
        for leaf, x in first[name].items():
            np.testing.assert_allclose(second[name][leaf], x, atol=2e-5)


def test_how_devices_share_the_work_does_not_matter(
    tiniest_folder: Path, whole: TogetherRun, tmp_path: Path
) -> None:
    how = {"shard_optimizer": True, "save_steps": 2, "eval_steps": 3}  # by jit, not pmap
    assert_close(whole, train(tiniest_folder, tmp_path / "run", **how))


def test_micro_batches_do_not_matter(tiniest_folder: Path, tmp_path: Path) -> None:
    how = {"length_bucket": 0, "per_device_train_batch_size": 2}
    one = train(tiniest_folder, tmp_path / "one", tasks(**how), max_steps=3)
    how["per_device_train_batch_size"] = 1
    more = {"gradient_accumulation_steps": 2, "max_steps": 3}
    assert_close(one, train(tiniest_folder, tmp_path / "other", tasks(**how), **more))


def test_a_task_may_be_there_twice_with_a_loss_and_packing_and_masks(
    tiniest_folder: Path, tmp_path: Path
) -> None:
    """Classes of two kinds, one by a loss with parameters, beside masked words; rows are packed."""

    (tmp_path / "own.py").write_text(
        "import jax, optax\n"
        "class Scaled:\n"
        "    def init(self, key, cfg):\n"
        "        return {'scale': {'kernel': jax.numpy.ones(1)}}\n"
        "    def loss(self, outputs, batch, loss_params):\n"
        "        logits = outputs['logits'] * loss_params['scale']['kernel']\n"
        "        return optax.softmax_cross_entropy_with_integer_labels(logits, batch['labels'])\n"
    )
    numbers = [{"text": text, "label": f"c{n % 3}"} for n, text in enumerate(TEXTS)]
    given: dict[str, Any] = {
        "news": {"task": "classification", "train_data": numbers, "max_seq_length": 10},
        "opinions": {
            "task": "classification",
            "train_data": ROWS,
            "validation_data": ROWS[:8],
            "loss": f"{tmp_path / 'own.py'}:Scaled",
            "metrics": [jaxbert.Metric("count", lambda found, examples: float(len(found)))],
        },
        "mlm": {"train_data": [{"text": t} for t in TEXTS], "max_seq_length": 16},
    }
    run = train(tiniest_folder, tmp_path / "run", given, max_steps=6, packing=True)
    assert run.done
    assert run.scores["opinions.count"] == 8
    assert run.scores["eval_loss"] == run.scores["opinions.eval_loss"]
    scale = load_file(tmp_path / "run" / "opinions" / "loss.safetensors")["scale.kernel"]
    assert scale != 1
    config = read(tmp_path / "run" / "news" / "config.json")
    assert list(config["id2label"].values()) == ["c0", "c1", "c2"]
    assert not (tmp_path / "run" / "news" / "loss.safetensors").exists()
    assert read(tmp_path / "run" / "news" / "metrics.json") == {}
    logged = {name for record in run.history for name in record}
    assert {"news.loss", "opinions.loss", "mlm.loss", "mlm.accuracy"} <= logged


def test_the_best_by_a_score_of_one_task_is_kept_and_ends_the_run(
    tiniest_folder: Path, tmp_path: Path
) -> None:
    run = train(
        tiniest_folder,
        tmp_path / "run",
        learning_rate=0.0,  # no evaluation is better than the first
        eval_steps=1,
        metric_for_best_model="tagging.f1",
        load_best_model_at_end=True,
        early_stopping_patience=2,
    )
    evaluated = [record["step"] for record in run.history if "tagging.f1" in record]
    assert evaluated == [1, 2, 3]
    assert run.done
    assert {p.name for p in (tmp_path / "run" / "checkpoints").iterdir()} >= {"1"}


# --- stopped and resumed ----------------------------------------------------------------------


def test_an_interrupted_run_resumes_with_equal_bits(
    tiniest_folder: Path, whole: TogetherRun, tmp_path: Path
) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, Logged) and event.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    how = {"save_steps": 2, "eval_steps": 3}
    part = train(tiniest_folder, tmp_path / "run", callbacks=[interrupt], **how)
    assert not part.done
    assert part.scores == {}
    assert not (tmp_path / "run" / "tagging").exists()
    with pytest.raises(InputError, match="was interrupted and has no model yet"):
        part.tasks["tagging"].predict(TAGGED)
    rest = train(tiniest_folder, tmp_path / "run", **how)
    assert rest.done
    assert_equal_models(tmp_path / "run", Path(whole.output_dir))
    assert without_times(rest.history) == without_times(whole.history)
    assert rest.scores == whole.scores


KILLED = """
import os, signal, sys
from jaxbert.cli import main
from jaxbert.training.train_log import TrainLog
write = TrainLog.write
def last_words(self, record):
    write(self, record)
    if record["step"] == int(os.environ["KILLED_AT"]):
        os.kill(os.getpid(), signal.SIGKILL)
TrainLog.write = last_words
main.main()
"""


def files_of(folder: Path) -> list[str]:
    """The words of a command with these rows in files."""
    for name, rows in (("classes", ROWS), ("tags", TAGGED)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text)
    words = ["--tasks", "classification:2", "tagging"]
    for task, file in (("classification", "classes"), ("tagging", "tags")):
        path = str(folder / f"{file}.jsonl")
        words += [f"--{task}.train_file", path, f"--{task}.validation_file", path]
        words += [f"--{task}.max_eval_samples", "8"]
        words += [w for n, x in OWN.items() for w in (f"--{task}.{n}", str(x))]
    return words


def common(model: Path, folder: Path, **more: Any) -> list[str]:
    given = {**COMMON, "save_steps": 2, "eval_steps": 3, **more}
    given = {"model_name_or_path": model, "output_dir": folder, **given}
    return [w for n, x in given.items() if n != "quiet" for w in (f"--{n}", str(x))]


def test_a_killed_command_resumes_with_equal_bits(
    tiniest_folder: Path, whole: TogetherRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["train", "together", *files_of(tmp_path), *common(tiniest_folder, tmp_path / "run")]
    command = [sys.executable, "-c", KILLED, *words]
    monkeypatch.setenv("KILLED_AT", "4")
    child = process(*command, devices=8)
    assert child.returncode == -signal.SIGKILL, child.stderr[-2000:]
    assert not (tmp_path / "run" / "metrics.json").exists()
    monkeypatch.setenv("KILLED_AT", "0")
    child = process(*command, devices=8)
    assert child.returncode == 0, child.stderr[-2000:]
    assert_equal_models(tmp_path / "run", Path(whole.output_dir))
    assert read(tmp_path / "run" / "metrics.json") == whole.scores


@pytest.fixture(scope="module")
def by_command(
    tiniest_folder: Path, whole: TogetherRun, tmp_path_factory: Any
) -> tuple[Path, list[str]]:
    """A folder with data and a run by a command, which has ended, and the words of the command."""
    folder = tmp_path_factory.mktemp("command")
    words = ["together", *files_of(folder), *common(tiniest_folder, folder / "run")]
    assert call("train", *words) == 0
    return folder, words


def test_the_command_is_the_function(
    by_command: tuple[Path, list[str]], whole: TogetherRun
) -> None:
    assert_equal_models(by_command[0] / "run", Path(whole.output_dir))


def test_a_record_repeats_the_run(by_command: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, _ = by_command
    again = ["together", str(folder / "run" / "options.json")]
    assert call("train", *again, "--output_dir", str(tmp_path / "again")) == 0
    assert_equal_models(tmp_path / "again", folder / "run")
    assert call("train", *again) == 0  # it has ended: nothing is trained
    told = refuses("train", "tagging", again[1], "--output_dir", str(tmp_path / "other"))
    assert "is the record of a run of together, not of tagging" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--tagging.max_seq_length", "9"],
            "--tagging.max_seq_length: 10 -> 9; a run keeps its examples, which depend on "
            "--tagging.max_seq_length",
        ),
        (
            ["--tasks", "classification", "tagging"],
            "--tasks: ['classification:2', 'tagging:1'] -> ['classification:1', 'tagging:1']; the "
            "steps of a run are drawn by its tasks",
        ),
        (
            ["--learning_rate", "0.1"],
            "--learning_rate: 0.001 -> 0.1; give --allow_changed_options learning_rate",
        ),
        (
            ["--tagging.loss", "focal"],
            "--tagging.loss: cross_entropy -> focal; give --allow_changed_options tagging.loss",
        ),
        (
            ["--tagging.train_file", "CLASSES"],
            "column",
        ),
    ],
)
def test_a_changed_option_is_refused_by_name(
    by_command: tuple[Path, list[str]], words: list[str], told: str
) -> None:
    folder, before = by_command
    given = [word.replace("CLASSES", str(folder / "classes.jsonl")) for word in words]
    kept = read(folder / "run" / "options.json")
    assert told in refuses("train", *before, *given)
    assert read(folder / "run" / "options.json") == kept


def test_other_data_of_a_task_are_refused_and_a_changed_option_may_be_allowed(
    by_command: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder, before = by_command
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in TAGGED[:-1]))
    told = refuses("train", *before, "--tagging.train_file", str(other))
    assert "the run was started with other train data or another tokenizer of tagging" in told
    more = ["--tagging.entity_mode", "strict", "--allow_changed_options", "tagging.entity_mode"]
    assert call("train", *before, *more) == 0
    options = read(folder / "run" / "options.json")["parts"]["tagging"]["options"]
    assert options["entity_mode"] == "strict"
    assert call("train", *before, "--allow_changed_options", "tagging.entity_mode") == 0
    told = refuses("train", *before, "--allow_changed_options", "max_seq_length")
    assert told == "--allow_changed_options max_seq_length: no such option"


# --- folders ----------------------------------------------------------------------------------


def test_nothing_that_is_not_the_runs_is_overwritten(
    by_command: tuple[Path, list[str]], tiniest_folder: Path, tmp_path: Path
) -> None:
    folder, before = by_command
    (tmp_path / "tagging").mkdir()
    (tmp_path / "tagging" / "model.safetensors").write_text("mine")
    for more in ([], ["--overwrite_output_dir"]):
        told = refuses("train", *before, "--output_dir", str(tmp_path), *more)
        assert "there is a tagging that is no model of a run of several tasks" in told
    assert (tmp_path / "tagging" / "model.safetensors").read_text() == "mine"
    part = folder / "run" / "tagging"
    own = ["--train_file", str(folder / "tags.jsonl"), "--output_dir", str(part)]
    told = refuses("train", "tagging", "--model_name_or_path", str(tiniest_folder), *own)
    assert "is of a run of several tasks, classification:2 tagging:1; give another" in told
    told = refuses("train", *before, "--model_name_or_path", str(part), "--overwrite_output_dir")
    assert f"--output_dir {part} is the --model_name_or_path too" in told
    own = ["--validation_file", str(folder / "tags.jsonl"), "--output_dir", str(tmp_path / "e")]
    told = refuses("eval", "tagging", "--model_name_or_path", str(folder / "run"), *own)
    models = " or ".join(str(folder / "run" / name) for name in TASKS)
    assert told == f"{folder / 'run'} has a model of each of several tasks: give {models}"
    for words in (["push", str(folder / "run"), "U/N"], ["ask", "--model_name_or_path"], ["serve"]):
        words += [str(folder / "run")] if words[0] != "push" else []
        assert "has a model of each of several tasks: give " in refuses(*words)


def test_overwriting_removes_what_the_run_wrote_and_no_more(
    by_command: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder, before = by_command
    run = tmp_path / "run"
    shutil.copytree(folder / "run", run)
    (run / "tagging" / "notes.txt").write_text("mine")
    words = [*before, "--output_dir", str(run), "--overwrite_output_dir", "--max_steps", "1"]
    renamed = [
        w.replace("classification", "classes=classification") if ":" in w else w for w in words
    ]
    renamed = [w.replace("--classification.", "--classes.") for w in renamed]
    assert call("train", *renamed) == 0
    assert not (run / "classification").exists()
    assert (run / "classes" / "model.safetensors").exists()
    assert (run / "tagging" / "notes.txt").read_text() == "mine"
    assert read(run / "options.json")["options"]["tasks"] == [
        "classes=classification:2",
        "tagging:1",
    ]
