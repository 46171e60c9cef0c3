"""What eval/calibrate.py calls: the threshold of no answer, and a temperature for confidences.

Both are fitted to some paragraphs' questions and reported on the others' only: a threshold that was
chosen on the questions it is reported on flatters (Rajpurkar et al. 2018 report such best scores).
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
import random
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxbert.data.questions import QAExample
from jaxbert.decoding.answers import Prediction, at_threshold
from jaxbert.errors import InputError
from jaxbert.io.drawing import new_figure, save_figure
from jaxbert.io.files import Json, write_json
from jaxbert.metrics.calibration import (
    Bin,
    calibration_error,
    confidences_at,
    fit_temperature,
    reliability,
)
from jaxbert.model.folders import folder_of
from jaxbert.options.command_settings import CalibrateOptions
from jaxbert.runs.evaluate import assess, show_scores
from jaxbert.runs.inputs import load_model, read_examples
from jaxbert.runs.place import place_of
from jaxbert.runs.record import check_task
from jaxbert.runs.saved import CALIBRATION, digests_of_model
from jaxbert.runtime.compiled import keep_compiled
from jaxbert.runtime.processes import launched
from jaxbert.tasks.qa import QA, score_answers, scores_at

logger = logging.getLogger("jaxbert")


class Pairs(NamedTuple):
    """Some questions with their predictions; going through them takes no memory for them.

    Attributes:
        numbers: of those, ascending.
    """

    examples: Sequence[QAExample]
    predictions: Sequence[Prediction]
    numbers: Sequence[int]

    def each(self) -> Iterator[tuple[QAExample, Prediction]]:
        return ((self.examples[n], self.predictions[n]) for n in self.numbers)


def calibrate(options: CalibrateOptions) -> dict[str, Json]:
    """Fit threshold and temperature of a fine-tuned folder, and write calibration.json there.

    eval/qa.py and QuestionAnswerer use what it says. Reports and a diagram go to --output_dir.

    Returns:
        What calibration.json holds.

    Raises:
        InputError: something the user gave cannot be used; nothing has been written.
    """
    if not options.model_name_or_path:
        raise InputError("give --model_name_or_path, the folder of a fine-tuned model")
    if options.num_processes or launched():
        raise InputError("eval/calibrate.py is one process")
    folder = folder_of(options.model_name_or_path)  # of an address its model's files, here
    if not folder.is_dir():
        raise InputError(f"--model_name_or_path {folder}: give a folder; the result is kept there")
    check_task(folder, QA.name)
    if options.compilation_cache_dir:
        keep_compiled(options.compilation_cache_dir)
    place = place_of(options.model_name_or_path)
    place.check_writable("--model_name_or_path")
    reports = place_of(options.output_dir) if options.output_dir else place
    if reports is not place:
        reports.check_writable()
    settings = options.part(QA.settings_cls)
    data = read_examples(QA(settings), options.validation_source(), cache_dir=options.cache_dir)
    if data is None:
        raise InputError("give --validation_file or --dataset_name, questions to fit to")
    plain = dataclasses.replace(settings, null_score_diff_threshold=0.0, score_temperature=1.0)
    task = QA(plain).fit_to(None, data.examples)
    metric, unanswerable = task.settings.metric, task.settings.version_2_with_negative
    model = digests_of_model(folder)
    _, predictions, _ = assess(
        task,
        load_model(task, options),
        data.examples,
        per_device_eval_batch_size=options.per_device_eval_batch_size,
        length_bucket=options.length_bucket,
        encoding=options.encoding(),
    )
    fitted, others = split(data.examples, predictions, options.fit_part, options.seed)
    logger.info(
        "fitted to %d questions; reported on %d of other paragraphs",
        len(fitted.numbers),
        len(others.numbers),
    )
    threshold = find_threshold(fitted) if unanswerable else 0.0
    temperature = fit_temperature(*_confidence_data(fitted, threshold, metric))
    record: dict[str, Json] = {
        "null_score_diff_threshold": threshold,
        "score_temperature": temperature,
        "version_2_with_negative": unanswerable,
        "model": model,
        "fit_part": options.fit_part,
        "seed": options.seed,
        "reported_on": len(others.numbers),
    }
    logger.info("null_score_diff_threshold %.4g  score_temperature %.4g", threshold, temperature)
    if others.numbers:
        record |= _report(
            others,
            threshold,
            temperature,
            metric=metric,
            unanswerable=unanswerable,
            folder=reports.path,
        )
        reports.publish()
    record["fitted_to"] = [e.id for e, _ in fitted.each()]
    write_json(place.path / CALIBRATION, record)
    place.publish()
    logger.info("%s is used by eval/qa.py and QuestionAnswerer", place.named(CALIBRATION))
    return record


def split(
    examples: Sequence[QAExample], predictions: Sequence[Prediction], part: float, seed: int
) -> tuple[Pairs, Pairs]:
    """The questions of a part of the paragraphs, and those of the others.

    Raises:
        InputError: there are too few paragraphs for it.
    """
    known: dict[bytes, int] = {}  # a paragraph's number, by its hash: the texts may be many
    paragraph = array("q")
    for e in examples:
        key = hashlib.blake2b(e.context.encode(), digest_size=16).digest()
        paragraph.append(known.setdefault(key, len(known)))
    paragraphs = list(range(len(known)))
    random.Random(seed).shuffle(paragraphs)
    count = round(part * len(paragraphs))
    if count == 0 or (count == len(paragraphs) and part < 1):
        raise InputError(
            f"--fit_part {part:g} of {len(paragraphs)} paragraphs leaves a part without any; give "
            "more paragraphs, or --fit_part 1 to report nothing"
        )
    chosen = set(paragraphs[:count])
    numbers = (array("q"), array("q"))
    for n, of in enumerate(paragraph):
        numbers[of not in chosen].append(n)
    fitted, others = (Pairs(examples, predictions, found) for found in numbers)
    return fitted, others


def find_threshold(pairs: Pairs) -> float:
    """The null odds up to which answering gives the best F1, as SQuAD 2.0's script finds it."""
    threshold = scores_at(pairs.each(), math.inf, len(pairs.numbers))["best_f1_thresh"]
    odds = array("d", (p.null_odds for _, p in pairs.each() if p.null_odds is not None))
    if threshold == 0.0 and 0.0 not in odds:  # the script's word for: answer nothing
        threshold = min(odds) - 1
    return threshold


def _confidence_data(
    pairs: Pairs, threshold: float, metric: str
) -> tuple[list[np.ndarray], list[bool]]:
    """Of each question the scores of its n-best list, and whether the answer given is right."""
    scores, right = [], []
    for example, prediction in pairs.each():
        shift = threshold if prediction.null_odds is not None else 0.0
        found = [c.score - (0.0 if c.text else shift) for c in prediction.nbest]
        scores.append(np.array(found, np.float64))
        text = at_threshold(prediction, threshold).text
        one = score_answers(metric, [(text, [a.text for a in example.answers])], 1)
        right.append(one["exact_match"] == 100)
    return scores, right


def _report(
    pairs: Pairs,
    threshold: float,
    temperature: float,
    *,
    metric: str,
    unanswerable: bool,
    folder: Path,
) -> dict[str, Json]:
    """Scores before and after on questions that nothing was fitted to; draws the diagram.

    Args:
        unanswerable: whether some questions have no answer.
    """
    record: dict[str, Json] = {}
    for name, value in (("at_threshold_0", 0.0), ("at_this_threshold", threshold)):
        answers = (
            (at_threshold(p, value).text, [a.text for a in e.answers]) for e, p in pairs.each()
        )
        record[name] = scores = score_answers(metric, answers, len(pairs.numbers))
        if unanswerable or value == threshold:
            logger.info("threshold %.4g: %s", value, show_scores(scores))
    tables, errors = {}, []
    for name, limit, value in (("before", 0.0, 1.0), ("after", threshold, temperature)):
        logits, right = _confidence_data(pairs, limit, metric)
        confidences = confidences_at(logits, value).tolist()
        errors.append(calibration_error(confidences, right))
        record[f"calibration_error_{name}"] = errors[-1]
        tables[f"{name}: temperature {value:.3g}"] = reliability(confidences, right)
    record["reliability"] = {name: [b._asdict() for b in bins] for name, bins in tables.items()}
    logger.info(
        "expected calibration error %.4f at threshold 0 and temperature 1, %.4f at those found",
        *errors,
    )
    draw(tables, errors, folder)
    return record


def draw(tables: dict[str, list[Bin]], errors: Sequence[float], folder: Path) -> None:
    """reliability.png: how often answers are right, by how sure the model is of them."""
    figure = new_figure("reliability.png", 8, 4)
    if figure is None:
        return
    for number, ((title, bins), error) in enumerate(zip(tables.items(), errors, strict=True)):
        axes = figure.add_subplot(1, 2, number + 1)
        whole = sum(b.answers for b in bins)
        axes.bar(
            [b.low for b in bins],
            [b.right for b in bins],
            0.1,
            align="edge",
            edgecolor="white",
            color="#3b6ea5",
            label="right",
        )
        axes.step(
            [0, *[(n + 1) / 10 for n in range(10)]],
            _shares(bins, whole),
            where="pre",
            color="#999999",
            label="part of the answers",
        )
        axes.plot([0, 1], [0, 1], color="#c44e52", linewidth=1, label="as sure as right")
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", title=f"{title}, ECE {error:.3f}")
        if number == 0:
            axes.set_ylabel("exact match")
            axes.legend(loc="upper left", frameon=False)
    save_figure(figure, folder / "reliability.png")


def _shares(bins: Sequence[Bin], whole: int) -> list[float]:
    shares = [0.0] * 10
    for b in bins:
        shares[round(b.low * 10)] = b.answers / whole
    return [shares[0], *shares]
