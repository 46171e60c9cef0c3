"""The scripts as a user runs them: train, resume, evaluate, ask, score; kills; wrong input."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import DEMO, REPOSITORY
from safetensors.numpy import load_file, save_file
from scripts import (
    check_written,
    copy_before_its_end,
    environment,
    passed,
    process,
    read,
    refused,
    refuses,
    script,
    steps_of,
    weights,
)

from jaxbert import QuestionAnswerer

pytestmark = pytest.mark.integration

TRAIN = str(DEMO / "qa_en_train.json")
DEV = str(DEMO / "qa_en_dev.json")
SMALL = [
    *("--train_file", TRAIN, "--max_train_samples", "24"),
    *("--validation_file", DEV, "--max_eval_samples", "6"),
    *("--per_device_train_batch_size", "4", "--learning_rate", "1e-3", "--warmup_ratio", "0.1"),
    *("--max_seq_length", "512", "--doc_stride", "64", "--length_bucket", "0", "--seed", "3"),
]


@pytest.fixture(scope="module")
def unbroken(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a whole run of 12 steps on one device."""
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    out = passed(script("train/qa.py", *run_words(tiny_folder, folder)))
    assert "f1" in out
    return folder


def run_words(model: Path, folder: Path, *more: str) -> list[str]:
    words = ["--model_name_or_path", str(model), "--output_dir", str(folder), *SMALL]
    return [*words, "--num_train_epochs", "2", "--save_steps", "2", *more]


def test_a_run_writes_all_that_is_promised(unbroken: Path) -> None:
    files = {"predictions.json", "nbest_predictions.json"}
    check_written(unbroken, 12, files, {"start_accuracy", "end_accuracy"})
    metrics = read(unbroken / "metrics.json")
    assert 0 <= metrics["exact_match"] <= metrics["f1"] <= 100
    assert metrics["total"] == 6
    assert len(read(unbroken / "predictions.json")) == 6
    entry = next(iter(read(unbroken / "nbest_predictions.json").values()))
    assert set(entry[0]) == {"text", "start", "end", "score", "probability"}


def test_the_same_command_on_a_finished_run_trains_no_step(
    tiny_folder: Path, unbroken: Path
) -> None:
    before = weights(unbroken), (unbroken / "metrics.json").read_text()
    out = passed(script("train/qa.py", *run_words(tiny_folder, unbroken)))
    assert "resuming from step 12 of 12" in out
    assert (weights(unbroken), (unbroken / "metrics.json").read_text()) == before


def stop_and_resume(
    tiny_folder: Path,
    folder: Path,
    number: signal.Signals,
    when: Callable[[Path], bool],
    *more: str,
) -> tuple[int, str, int]:
    """Start a run, send it a signal when `when(folder)` is true, run it again to its end.

    Returns:
        The first run's exit status and standard error, and the step that the second resumed from.
    """
    flags = run_words(tiny_folder, folder, *more)
    words = [sys.executable, str(REPOSITORY / "train/qa.py"), *flags]
    log = folder.with_suffix(".err")
    with log.open("w") as errors:
        child = subprocess.Popen(words, env=environment(), stdout=subprocess.DEVNULL, stderr=errors)
        try:
            until = time.monotonic() + 120
            while not when(folder) and child.poll() is None and time.monotonic() < until:
                time.sleep(0.002)
            child.send_signal(number)
            status = child.wait(timeout=60)
        finally:
            child.kill()
    out = passed(script("train/qa.py", *flags))
    found = re.search(r"resuming from step (\d+) of", out)
    return status, log.read_text(), int(found[1]) if found else 0


def logged(step: int) -> Callable[[Path], bool]:
    def when(folder: Path) -> bool:
        path = folder / "train_log.jsonl"
        return path.exists() and path.read_text().count("\n") >= step

    return when


def saving(step: int) -> Callable[[Path], bool]:
    """True while the checkpoint of that step is begun."""
    return lambda folder: (folder / "checkpoints" / str(step)).exists()


# A kill between saves, one inside a save and a signal are tried in faults/test_kills.py every time,
# on the same script.
@pytest.mark.faults
@pytest.mark.parametrize(
    "case",
    ["early", "late", "inside a save"],
)
def test_killed_and_resumed_the_parameters_are_equal_bit_for_bit(
    case: str, tiny_folder: Path, unbroken: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    seed = random.randrange(10**6)  # another moment each time; the message tells it
    moment = random.Random(seed).randint
    when = {
        "early": logged(moment(1, 4)),
        "late": logged(moment(5, 10)),
        "inside a save": saving(2 * moment(2, 5)),
    }[case]
    status, _, resumed_at = stop_and_resume(tiny_folder, folder, signal.SIGKILL, when)
    assert status == -signal.SIGKILL, seed
    assert resumed_at >= (0 if case == "early" else 2), seed
    assert weights(folder) == weights(unbroken), seed
    assert steps_of(folder) == steps_of(unbroken), seed


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_leaves_with_status_75(
    number: signal.Signals, tiny_folder: Path, unbroken: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    status, errors, resumed_at = stop_and_resume(tiny_folder, folder, number, logged(3))
    assert status == 75, errors[-2000:]
    assert "Traceback" not in errors
    assert 3 <= resumed_at < 12
    assert weights(folder) == weights(unbroken)


@pytest.mark.faults
def test_a_signal_ends_an_evaluation_and_it_is_done_when_the_run_is_resumed(
    tiny_folder: Path, unbroken: Path, tmp_path: Path
) -> None:
    # The checkpoint of step 6 is written before the evaluation at the end of the first epoch.
    folder = tmp_path / "run"
    sealed = folder / "checkpoints" / "6" / "manifest.json"
    status, errors, resumed_at = stop_and_resume(
        tiny_folder, folder, signal.SIGTERM, lambda _: sealed.exists(), "--save_steps", "100"
    )
    assert status == 75, errors[-2000:]
    assert resumed_at >= 6
    assert weights(folder) == weights(unbroken)
    kept, now = (
        json.loads(sorted((p / "checkpoints").glob("12/progress.json"))[0].read_text())
        for p in (unbroken, folder)
    )
    assert now["evaluations"] == kept["evaluations"]
    assert [e["step"] for e in now["evaluations"]] == [6]


def test_on_two_devices_a_run_is_resumed_with_the_same_data(
    tiny_folder: Path, unbroken: Path, tmp_path: Path
) -> None:
    words = run_words(tiny_folder, tmp_path / "run")
    copy_before_its_end(unbroken, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "11").mkdir()
    out = passed(script("train/qa.py", *words, devices=2))
    assert "checkpoint 11 passed over: unfinished" in out
    assert "resuming from step 10 of 12" in out
    assert "2 devices (cpu, pmap)" in out
    kept, now = (
        (p / "train_log.jsonl").read_text().splitlines() for p in (unbroken, tmp_path / "run")
    )
    losses = [[json.loads(line)["loss"] for line in lines] for lines in (kept, now)]
    assert max(abs(a - b) for a, b in zip(*losses, strict=True)) < 1e-6


def test_changed_options_are_refused_unless_named(
    tiny_folder: Path, unbroken: Path, tmp_path: Path
) -> None:
    words = run_words(tiny_folder, unbroken, "--learning_rate", "2e-3")
    result = script("train/qa.py", *words)
    refused(result, "--learning_rate: 0.001 -> 0.002", "--allow_changed_options learning_rate")
    copied = tmp_path / "run"
    shutil.copytree(unbroken, copied)
    words = run_words(tiny_folder, copied, "--learning_rate", "2e-3")
    passed(script("train/qa.py", *words, "--allow_changed_options", "learning_rate"))
    words = run_words(tiny_folder, copied, "--max_train_samples", "20")
    refused(script("train/qa.py", *words), "--max_train_samples: 24 -> 20")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--output_dir", "o", "--learning_rate", "high"], ["--learning_rate", "high"]),
        (["--train_file", "missing.json", "--output_dir", "o"], ["missing.json", "no such file"]),
        (["--train_file", TRAIN], ["--output_dir"]),
        (["--train_file", TRAIN, "--output_dir", "o"], ["--model_name_or_path"]),
        (["--train_file", TRAIN, "--output_dir", "o", "--push_to_hub"], ["HF_HUB_OFFLINE"]),
        (["--train_file", TRAIN, "--output_dir", "/dev/null/x"], ["--output_dir", "is a file"]),
        (["--train_file", TRAIN, "--output_dir", ""], ["--output_dir"]),
        (["--do_eval", "--output_dir", "o"], ["--do_eval", "eval/"]),
        (["--train_file", TRAIN, "--output_dir", "o", "--learning_rate", "inf"], ["learning_rate"]),
        (["--train_file", TRAIN, "--output_dir", "o", "--n_best_size", "0"], ["--n_best_size 0"]),
        (["--train_file", TRAIN, "--output_dir", "o", "--loss", "no"], ["cross_entropy"]),
        (["--train_file", TRAIN, "--output_dir", "o", "--num_train_epochs", "nan"], ["nan"]),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(
    words: list[str], parts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refuses("train/qa.py", *words)
    assert all(part in message for part in parts), message
    assert list(tmp_path.iterdir()) == []


def test_wrong_input_is_told_on_standard_error_with_status_2(tmp_path: Path) -> None:
    words = ["--output_dir", "o", "--learning_rte", "1"]
    refused(script("train/qa.py", *words, cwd=tmp_path), "--learning_rte")
    assert list(tmp_path.iterdir()) == []


def test_a_command_of_the_old_flax_script_is_understood(tiny_folder: Path, tmp_path: Path) -> None:
    words = ["--model_name_or_path", str(tiny_folder), *SMALL, "--do_train", "--do_eval", "True"]
    words += ["--output_dir", str(tmp_path / "o"), "--max_steps", "2", "--overwrite_cache"]
    words += ["--version_2_with_negative", "True", "--bf16", "--gradient_accumulation_steps=2"]
    out = passed(script("train/qa.py", *words))
    assert "2 steps of 8 rows" in out
    assert (tmp_path / "o" / "null_odds.json").exists()
    record = read(tmp_path / "o" / "options.json")
    assert record["options"]["dtype"] == "bfloat16"
    assert record["options"]["version_2_with_negative"] is True


def test_evaluate_score_and_ask_agree(unbroken: Path, tmp_path: Path) -> None:
    words = ["--model_name_or_path", str(unbroken), "--validation_file", DEV]
    words += ["--max_eval_samples", "6", "--output_dir", str(tmp_path)]
    passed(script("eval/qa.py", *words))
    for name in ("metrics.json", "predictions.json"):
        assert (tmp_path / name).read_text() == (unbroken / name).read_text()

    predictions = read(unbroken / "predictions.json")
    reference = read(Path(DEV))
    kept = tmp_path / "six.json"
    for article in reference["data"]:
        for paragraph in article["paragraphs"]:
            paragraph["qas"] = [qa for qa in paragraph["qas"] if qa["id"] in predictions]
    kept.write_text(json.dumps(reference))
    files = ["--predictions", str(unbroken / "predictions.json"), "--references", str(kept)]
    scored = json.loads(passed(script("eval/score.py", "--metric", "squad", *files)))
    metrics = read(unbroken / "metrics.json")
    assert metrics.pop("eval_loss") > 0  # which texts alone do not tell
    assert scored == metrics
    one_short = tmp_path / "short.json"
    one_short.write_text(json.dumps(dict(list(predictions.items())[1:])))
    files = ["--predictions", str(one_short), "--references", str(kept)]
    message = refuses("eval/score.py", "--metric", "squad_v2", *files)
    assert "no prediction for 1 ids" in message
    assert next(iter(predictions)) in message
    broken = tmp_path / "broken.json"  # a training would leave the question out
    next(q for a in reference["data"] for p in a["paragraphs"] for q in p["qas"])["question"] = 5
    broken.write_text(json.dumps(reference))
    files = ["--predictions", str(unbroken / "predictions.json"), "--references", str(broken)]
    message = refuses("eval/score.py", "--metric", "squad", *files)
    assert 'field "question" is int' in message
    assert message.endswith("a score is of all questions")
    reference = read(kept)

    qa = next(q for a in reference["data"] for p in a["paragraphs"] for q in p["qas"])
    context = reference["data"][0]["paragraphs"][0]["context"]
    ask = ["--model_name_or_path", str(unbroken), "--question", qa["question"]]
    out = passed(script("eval/ask.py", *ask, "--context", context, "--json"))
    found = json.loads(out.splitlines()[-1])
    answerer = QuestionAnswerer.from_pretrained(unbroken)
    assert found == answerer(question=qa["question"], context=context)
    # The pipeline's way widens answers and adds up those of one text; eval/qa.py does not.
    exact = answerer(question=qa["question"], context=context, calibrated=True)
    assert isinstance(exact, dict)
    assert exact["answer"] == predictions[qa["id"]]
    assert context[found["start"] : found["end"]] == found["answer"]


def test_a_model_folder_is_never_overwritten(tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(tiny_folder, folder)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    message = refuses("train/qa.py", *run_words(folder, folder, "--overwrite_output_dir"))
    assert "--output_dir" in message
    assert "--model_name_or_path too" in message
    message = refuses("train/qa.py", *run_words(tiny_folder, folder, "--overwrite_output_dir"))
    assert "there is a config.json" in message
    assert "another folder" in message
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_loss_that_is_not_finite_ends_the_run_in_one_line(
    tiny_folder: Path, tmp_path: Path
) -> None:
    words = run_words(tiny_folder, tmp_path / "o", "--learning_rate", "1000", "--weight_decay")
    result = script("train/qa.py", *words, "1000", "--save_steps", "1")
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode == 2
    assert len(lines) == 1
    assert "--learning_rate" in lines[0]
    assert "Traceback" not in result.stderr
    stopped = int(re.search(r"at 3 steps in a row, (\d+)", lines[0])[1])
    steps = [int(p.name) for p in (tmp_path / "o" / "checkpoints").iterdir()]
    assert steps
    assert max(steps) <= stopped + 1  # of steps that changed nothing


def test_files_of_the_user_are_not_replaced(tiny_folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "o" / "metrics.json"
    mine.parent.mkdir()
    mine.write_text("mine")
    for more in ([], ["--overwrite_output_dir"]):
        words = run_words(tiny_folder, mine.parent, *more)
        message = refuses("train/qa.py", *words)
        assert "metrics.json" in message
        assert "another folder" in message
    assert mine.read_text() == "mine"
    assert len(list(mine.parent.iterdir())) == 1


def test_a_reader_that_goes_away_does_not_end_a_training(tiny_folder: Path, tmp_path: Path) -> None:
    words = run_words(tiny_folder, tmp_path / "o", "--max_steps", "1")
    line = " ".join([sys.executable, str(REPOSITORY / "train/qa.py"), *words]) + " | head -1"
    result = process("bash", "-c", f"set -o pipefail; {line}")
    assert result.returncode == 0, result.stderr[-2000:]
    assert (tmp_path / "o" / "metrics.json").exists()


def test_other_validation_data_is_refused(
    tiny_folder: Path, unbroken: Path, tmp_path: Path
) -> None:
    before = (unbroken / "options.json").read_text()
    words = run_words(tiny_folder, unbroken, "--validation_file", TRAIN)
    refused(script("train/qa.py", *words), "other validation data")
    assert (unbroken / "options.json").read_text() == before


def test_ask_refuses_a_model_without_the_head(tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "m")
    path = tmp_path / "m" / "model.safetensors"
    save_file({n: x for n, x in load_file(path).items() if "qa_outputs" not in n}, path)
    words = ["--model_name_or_path", str(tmp_path / "m"), "--question", "who?", "--context", "Ada"]
    message = refuses("eval/ask.py", *words)
    assert "no qa head" in message
    assert "fine-tune" in message


def test_early_stopping_and_the_best_model(tiny_folder: Path, tmp_path: Path) -> None:
    words = ["--model_name_or_path", str(tiny_folder), *SMALL, "--output_dir", str(tmp_path / "o")]
    words += ["--num_train_epochs", "3", "--eval_steps", "2", "--learning_rate", "0"]
    words += ["--early_stopping_patience", "2", "--load_best_model_at_end"]
    words += ["--freeze", "embeddings"]
    out = passed(script("train/qa.py", *words))
    # With a learning rate of 0 nothing gets better: the first evaluation stays the best.
    assert steps_of(tmp_path / "o") == list(range(1, 7))
    assert "the best checkpoint is step 2" in out
    again = passed(script("train/qa.py", *words))
    assert "resuming from step 6" in again
    assert steps_of(tmp_path / "o") == list(range(1, 7))
