"""eval/calibrate.py: fitted to some paragraphs, reported on others, and used from then on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import DEMO
from scripts import call, refuses

from jaxbert import QuestionAnswerer
from jaxbert.data.questions import Answer, QAExample
from jaxbert.decoding.answers import at_threshold, merge_windows
from jaxbert.errors import InputError
from jaxbert.metrics.answer_scores import squad_v2_scores
from jaxbert.model.config import BertConfig
from jaxbert.options.task_settings import QAOptions
from jaxbert.runs.calibrate import Pairs, find_threshold, split
from jaxbert.runs.saved import read_calibration
from jaxbert.tasks.qa import QA

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's held-out questions, every third without an answer."""
    content = json.loads((DEMO / "qa_en_dev.json").read_text())
    number = 0
    for article in content["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                number += 1
                if number % 3 == 0:
                    question["answers"], question["is_impossible"] = [], True
    path = tmp_path_factory.mktemp("data") / "v2.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def folder(tiny_folder: Path, questions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("run") / "v2"
    words = ["--model_name_or_path", str(tiny_folder), "--train_file", str(questions)]
    words += ["--output_dir", str(place), "--version_2_with_negative", "--max_steps", "2"]
    assert call("train/qa.py", *words, "--per_device_train_batch_size", "1") == 0
    return place


def calibrated(folder: Path, questions: Path, *words: str) -> dict[str, Any]:
    given = ["--model_name_or_path", str(folder), "--validation_file", str(questions)]
    call("eval/calibrate.py", *given, *words)
    found: dict[str, Any] = json.loads((folder / "calibration.json").read_text())
    return found


def test_what_is_found_is_used_and_can_be_overridden(
    folder: Path, questions: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = calibrated(folder, questions, "--fit_part", "0.6", "--seed", "1")
    threshold, temperature = found["null_score_diff_threshold"], found["score_temperature"]
    assert threshold != 0
    assert temperature != 1
    assert len(found["fitted_to"]) + found["reported_on"] == 60
    evaluation = ["--model_name_or_path", str(folder), "--validation_file", str(questions)]
    with caplog.at_level("WARNING", "jaxbert"):
        call("eval/qa.py", *evaluation, "--output_dir", str(tmp_path))
    assert f"{len(found['fitted_to'])} of the 60 questions are those" in caplog.text
    odds = json.loads((tmp_path / "null_odds.json").read_text())
    answers = json.loads((tmp_path / "predictions.json").read_text())
    assert {q: a == "" for q, a in answers.items()} == {q: o > threshold for q, o in odds.items()}
    best = json.loads((tmp_path / "nbest_predictions.json").read_text())
    for question, answer in answers.items():  # the answer given is the most probable
        top = max(best[question], key=lambda entry: entry["probability"])
        assert top["text"] == answer
        assert sum(e["probability"] for e in best[question]) == pytest.approx(1)
    override = ["--null_score_diff_threshold", "1e6", "--output_dir", str(tmp_path / "all")]
    call("eval/qa.py", *evaluation, *override)
    spoken = json.loads((tmp_path / "all" / "predictions.json").read_text())
    assert all(spoken.values())
    # Reported scores are those of the questions that nothing was fitted to.
    others = [q for q in answers if q not in set(found["fitted_to"])]
    content = json.loads(questions.read_text())
    references = {
        q["id"]: [a["text"] for a in q["answers"]]
        for article in content["data"]
        for paragraph in article["paragraphs"]
        for q in paragraph["qas"]
        if q["id"] in others
    }
    wanted = squad_v2_scores(answers, references)
    for name in ("f1", "HasAns_f1", "NoAns_f1", "total"):
        assert found["at_this_threshold"][name] == wanted[name]
    qa = QuestionAnswerer.from_pretrained(folder)
    assert qa._options.null_score_diff_threshold == threshold
    assert qa._options.score_temperature == temperature


def test_the_diagram_is_drawn(folder: Path, questions: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    calibrated(folder, questions, "--output_dir", str(tmp_path))
    assert (tmp_path / "reliability.png").read_bytes().startswith(b"\x89PNG")


def test_wrong_input_is_told(folder: Path, questions: Path, tmp_path: Path) -> None:
    name = "eval/calibrate.py"
    model = ["--model_name_or_path", str(folder)]
    data = ["--validation_file", str(questions)]
    assert "give --model_name_or_path" in refuses(name, *data)
    assert "give --validation_file" in refuses(name, *model)
    assert "--fit_part 2" in refuses(name, *model, *data, "--fit_part", "2")
    assert "leaves a part without any" in refuses(name, *model, *data, "--fit_part", "0.999")
    (tmp_path / "calibration.json").write_text('{"score_temperature": "hot"}')
    words = ["--model_name_or_path", str(tmp_path), "--output_dir", str(tmp_path / "out"), *data]
    assert "not what eval/calibrate.py writes" in refuses("eval/qa.py", *words)


def test_training_on_voids_it(
    folder: Path, questions: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calibrated(folder, questions)
    record = json.loads((folder / "options.json").read_text())["options"]
    words = ["--model_name_or_path", record["model_name_or_path"], "--train_file", str(questions)]
    words += ["--output_dir", str(folder), "--version_2_with_negative"]
    words += ["--per_device_train_batch_size", "1"]
    assert call("train/qa.py", *words, "--max_steps", "2") == 0  # it was done: nothing is trained
    fitted, _ = read_calibration(folder)
    assert fitted
    more = ["--max_steps", "3", "--allow_changed_options", "max_steps"]
    assert call("train/qa.py", *words, *more) == 0
    assert read_calibration(folder) == ({}, set())
    QuestionAnswerer.from_pretrained(folder)
    assert "calibration.json belongs to another model" in caplog.text


# --- the threshold ------------------------------------------------------------------------------


def pair(number: int, answer: str, span: float, null: float, threshold: float = 0.0) -> Any:
    """A question on "x y", its answer or none, the score of the span "x", and of no answer."""
    answers = (Answer(answer, "xy".index(answer) * 2),) if answer else ()
    example = QAExample(str(number), "?", f"x y {number % 4}", answers)
    return example, merge_windows(
        example,
        [(0, 1, span)],
        null,
        n_best_size=5,
        version_2=True,
        null_threshold=threshold,
    )


def all_of(pairs: list[Any]) -> Pairs:
    examples, predictions = zip(*pairs, strict=True)
    return Pairs(examples, predictions, range(len(pairs)))


def test_the_threshold_is_the_best_of_all() -> None:
    # odds:            -3 right      -1 right     0.5 right      1 none       2 wrong
    pairs = [
        pair(0, "x", 3, 0),
        pair(1, "x", 1, 0),
        pair(2, "x", 0, 0.5),
        pair(3, "", 0, 1),
        pair(4, "y", 0, 2),
    ]
    assert find_threshold(all_of(pairs)) == 0.5
    said = [at_threshold(p, 0.5).text for _, p in pairs]
    assert said == ["x", "x", "x", "", ""]
    assert [at_threshold(p, 0.0).text for _, p in pairs] == ["x", "x", "", "", ""]


def test_the_best_thresholds_are_those_of_all_answers_not_of_those_given() -> None:
    """As the official script has it, which empties the answers itself."""
    found = []
    for threshold in (-9.0, 0.0, 9.0):
        options = QAOptions(
            metric="squad_v2",
            version_2_with_negative=True,
            null_score_diff_threshold=threshold,
        )
        given = [("x", 3.0, 0.0), ("x", 1.0, 0.0), ("x", 0.0, 0.5), ("", 0.0, 1.0)]
        pairs = [pair(n, *each, threshold) for n, each in enumerate(given)]
        scores = QA(options.part(QA.settings_cls)).score(*zip(*pairs, strict=True), BertConfig())
        given_answers = [p.answer.text == "".join(a.text for a in e.answers) for e, p in pairs]
        assert scores["exact"] == 100 * sum(given_answers) / 4
        found.append({n: x for n, x in scores.items() if n.startswith(("best_", "pr_"))})
    assert found[0] == found[1] == found[2]
    assert (found[0]["best_f1"], found[0]["best_f1_thresh"]) == (100, 0.5)
    assert found[0]["pr_f1_ap"] == 100


def test_a_metric_without_thresholds_is_of_the_answers_given() -> None:
    options = QAOptions(metric="squad", version_2_with_negative=True)
    pairs = [pair(0, "x", 3, 0), pair(1, "x", 0, 3)]  # the second is left unanswered
    scores = QA(options.part(QA.settings_cls)).score(*zip(*pairs, strict=True), BertConfig())
    assert scores["exact_match"] == 50


def test_where_silence_is_best_nothing_is_answered() -> None:
    pairs = [pair(n, "", 2, -n) for n in range(4)]
    threshold = find_threshold(all_of(pairs))
    assert [at_threshold(p, threshold).text for _, p in pairs] == [""] * 4


def test_no_paragraph_is_on_both_sides() -> None:
    pairs = [pair(n, "x", 1, 0) for n in range(12)]
    examples, predictions, _ = all_of(pairs)
    fitted, others = ([*p.each()] for p in split(examples, predictions, 0.5, seed=0))
    assert len(fitted) == len(others) == 6
    assert not {e.context for e, _ in fitted} & {e.context for e, _ in others}
    assert sorted([*fitted, *others], key=pairs.index) == pairs
    assert [*split(examples, predictions, 0.5, seed=0)[0].each()] == fitted
    assert [[*p.each()] for p in split(examples, predictions, 1, seed=0)] == [pairs, []]
    with pytest.raises(InputError, match="leaves a part without any"):
        split(examples[:1], predictions[:1], 0.5, seed=0)
