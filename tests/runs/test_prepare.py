"""What options name, read: classes and their order, splits of a data set, the demos' recipes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from jaxbert import demo
from jaxbert.cli import command_line
from jaxbert.data.features import Features
from jaxbert.data.sampling import BucketSampler, bucket_lengths
from jaxbert.errors import InputError
from jaxbert.model.config import BertConfig
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.options.task_settings import (
    ClassificationTrainOptions,
    MLMOptions,
    MLMTrainOptions,
    MultipleChoiceTrainOptions,
    QATrainOptions,
    RegressionTrainOptions,
    TaggingTrainOptions,
)
from jaxbert.runs.encoding import encode_examples
from jaxbert.runs.folder import write_results
from jaxbert.runs.inputs import load_model, read_examples, read_held_out
from jaxbert.runs.plan import total_steps
from jaxbert.runs.record import RunRecord, check_task, fingerprint_of
from jaxbert.tasks.classification import Classification
from jaxbert.tasks.mlm import MLM
from jaxbert.tasks.multiple_choice import MultipleChoice
from jaxbert.tasks.qa import QA
from jaxbert.tasks.regression import Regression
from jaxbert.tasks.tagging import Tagging

DEMOS: list[Any] = [
    (QA, QATrainOptions, demo.QA),
    (Classification, ClassificationTrainOptions, demo.CLASSIFICATION),
    (Regression, RegressionTrainOptions, demo.REGRESSION),
    (Tagging, TaggingTrainOptions, demo.TAGGING),
    (MultipleChoice, MultipleChoiceTrainOptions, demo.MULTIPLE_CHOICE),
    (MLM, MLMTrainOptions, demo.MLM),
]


def examples_of(task: Any, options: Any, split: str) -> Any:
    source = options.training_source() if split == "train" else options.validation_source()
    return read_examples(task(options.part(task.settings_cls)), source)


def held_out_of(task: Any, options: Any) -> Any:
    source = options.validation_source()
    return read_held_out(
        task(options.part(task.settings_cls)), source, needed_by=options.comparing_models
    )


def glue(tmp_path: Path, **splits: tuple[list[str], list[int]]) -> ClassificationTrainOptions:
    """A folder like GLUE's MRPC, whose class 1 is the one that F1 is of."""
    names = ["not_equivalent", "equivalent"]
    features = datasets.Features(
        {
            "sentence1": datasets.Value("string"),
            "sentence2": datasets.Value("string"),
            "label": datasets.ClassLabel(names=names),
        }
    )
    table = datasets.DatasetDict(
        {
            split: datasets.Dataset.from_dict(
                {"sentence1": texts, "sentence2": ["b"] * len(texts), "label": labels},
                features=features,
            )
            for split, (texts, labels) in splits.items()
        }
    )
    table.save_to_disk(str(tmp_path / "mrpc"))
    return ClassificationTrainOptions(dataset_name=str(tmp_path / "mrpc"))


def test_classes_keep_the_order_that_a_data_set_declares(tmp_path: Path, tiny_folder: Path) -> None:
    options = glue(tmp_path, train=(["a", "c", "d"], [1, 1, 0]), validation=(["e"], [1]))
    options = dataclasses.replace(options, model_name_or_path=str(tiny_folder), max_train_samples=2)
    task = Classification(options.part(Classification.settings_cls))
    data = read_examples(task, options.training_source())
    assert data is not None
    assert [e.label for e in data.examples] == ["equivalent", "equivalent"]
    assert data.classes == ("not_equivalent", "equivalent")
    cfg = load_model(task, options, data).cfg
    assert cfg.id2label == data.classes
    logits, features = (
        np.array([[0.0, 2.0], [1.0, 0.0]]),
        Features(np.arange(3), {}, {}, np.arange(2, dtype=np.int32)),
    )
    predictions = task.decode(data.examples, features, {"logits": logits}, cfg)
    scores = task.score(data.examples, predictions, cfg)
    assert scores["f1"] == pytest.approx(2 / 3)


def test_classes_are_those_of_all_rows_where_only_some_are_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "x.conll"
    path.write_text("a O\n\nb B-LOC\n\nc B-PER\n", encoding="utf-8")
    options = TaggingTrainOptions(train_file=[str(path)], max_train_samples=1)
    data = examples_of(Tagging, options, "train")
    assert data is not None
    assert len(data.examples) == 1
    assert data.classes == ("B-LOC", "B-PER", "O")


def test_a_split_may_be_missing_and_a_fault_in_it_is_an_error(tmp_path: Path) -> None:
    whole = (["a", "b"], [0, 1])
    without = glue(tmp_path / "without", train=whole)
    assert held_out_of(Classification, without) is None
    with pytest.raises(InputError, match="--load_best_model_at_end needs validation data"):
        held_out_of(Classification, dataclasses.replace(without, load_best_model_at_end=True))
    with pytest.raises(InputError, match="split test: it has train"):
        held_out_of(Classification, dataclasses.replace(without, validation_split="test"))
    other = glue(tmp_path / "other", train=whole, validation=whole)
    with pytest.raises(InputError, match='no column "stars"'):
        held_out_of(Classification, dataclasses.replace(other, label_column_name=["stars"]))


def test_faulty_rows_of_a_published_set_are_left_out_and_told(tmp_path: Path) -> None:
    options = glue(tmp_path, train=(["a", " ", "c", "d"], [0, 1, -1, 1]))
    data = examples_of(Classification, options, "train")
    assert data is not None
    assert [e.text for e in data.examples] == ["a", "d"]
    assert [p.where.rsplit(": ")[-1] for p in data.problems] == ["row 1", "row 2"]
    with pytest.raises(InputError, match=r"row 1: .* is empty$"):
        examples_of(Classification, dataclasses.replace(options, strict=True), "train")


def test_the_same_rows_elsewhere_have_the_same_fingerprint(tmp_path: Path) -> None:
    prints = set()
    for name in ("a.tsv", "b.tsv"):
        (tmp_path / name).write_text("text\tlabel\nx\t1\ny\t0\n", encoding="utf-8")
        options = ClassificationTrainOptions(validation_file=[str(tmp_path / name)])
        prints.add(fingerprint_of(held_out_of(Classification, options)))
    assert len(prints) == 1


@pytest.mark.parametrize(("task", "kind", "recipe"), DEMOS, ids=[t.name for t, _, _ in DEMOS])
def test_every_demo_can_be_trained(task: Any, kind: Any, recipe: Any, tiny_folder: Path) -> None:
    """All but the training itself, with a small tokenizer that cuts words to letters."""
    options = kind(**recipe)
    data, held_out = examples_of(task, options, "train"), held_out_of(task, options)
    assert data is not None
    fitted = task(options.part(task.settings_cls)).fit_to(data.examples, held_out)
    cfg = BertConfig(vocab_size=512, id2label=data.classes)
    tokenizer = load_tokenizer(tiny_folder)
    features = encode_examples(fitted, data.examples, tokenizer, cfg)
    encode_examples(fitted, held_out, tokenizer, cfg)
    buckets = bucket_lengths(options.length_bucket, options.max_seq_length)
    order = BucketSampler(
        features.lengths, options.per_device_train_batch_size, options.seed, buckets
    )
    assert total_steps(options.num_train_epochs, options.max_steps, order.steps_per_epoch) > 50


def test_the_folder_of_another_task_is_refused(tmp_path: Path) -> None:
    check_task(tmp_path, "tagging")  # any model folder, without a record of a run
    options = ClassificationTrainOptions()
    RunRecord.of("classification", options, rows_per_step=8).write(tmp_path)
    check_task(tmp_path, "classification")
    with pytest.raises(InputError, match="was trained for classification, not for tagging"):
        check_task(tmp_path, "tagging")


def test_results_of_an_earlier_evaluation_do_not_stay(tmp_path: Path) -> None:
    write_results(tmp_path, {"f1": 1.0}, {"predictions.json": [], "entity_report.json": {}})
    (tmp_path / "mine.json").write_text("{}", encoding="utf-8")
    write_results(tmp_path, {}, {"predictions.json": [1]})
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == ["metrics.json", "mine.json", "predictions.json"]


def test_a_vocabulary_that_does_not_fit_is_said(
    tiny_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = MLM(MLMOptions(max_seq_length=16))
    tokenizer, cfg = load_tokenizer(tiny_folder), BertConfig(vocab_size=512)
    for text, said in (("the of and", False), ("北京 上海", True)):
        caplog.clear()
        data = task.read([("x", [{"text": text}])])
        with caplog.at_level("INFO", "jaxbert"):
            encode_examples(task, data.examples, tokenizer, cfg)
        assert ("is it the right vocabulary?" in caplog.text) == said


def test_a_saved_set_without_splits_is_a_file(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(str(tmp_path / "one"))
    options = ClassificationTrainOptions(dataset_name=str(tmp_path / "one"))
    with pytest.raises(InputError, match="give it as --train_file"):
        examples_of(Classification, options, "train")


def test_task_name_is_glue_where_texts_are_read() -> None:
    found = command_line.parse(ClassificationTrainOptions, ["--task_name", "mrpc"])
    assert (found.dataset_name, found.dataset_config_name) == ("nyu-mll/glue", "mrpc")
    assert command_line.parse(TaggingTrainOptions, ["--task_name", "ner"]).dataset_name is None


def test_first_rows_of_a_sorted_file_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "sorted.tsv"
    rows = ["sentence\tlabel", *["good\tyes"] * 5, *["bad\tno"] * 5]
    path.write_text("\n".join(rows) + "\n")
    options = ClassificationTrainOptions(train_file=[str(path)], max_train_samples=5)
    with caplog.at_level("WARNING", "jaxbert"):
        data = examples_of(Classification, options, "train")
    assert data is not None
    assert (len(data.examples), set(data.classes)) == (5, {"yes", "no"})
    assert "the first 5 examples are all of the class yes; is the file sorted?" in caplog.text
    caplog.clear()
    with caplog.at_level("WARNING", "jaxbert"):
        examples_of(Classification, dataclasses.replace(options, max_train_samples=6), "train")
    assert not caplog.text


def csv(tmp_path: Path, rows: list[tuple[str, str]], **options: Any) -> ClassificationTrainOptions:
    lines = ["text,label,author", *(f"{text},{label},a" for text, label in rows)]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    return ClassificationTrainOptions(train_file=[str(tmp_path / "a.csv")], **options)


@pytest.mark.parametrize(("rows", "classes"), [(20, 20), (48, 48), (48, 44), (200, 190)])
def test_a_label_column_of_which_every_row_is_different(
    tmp_path: Path, rows: int, classes: int
) -> None:
    options = csv(tmp_path, [(f"word {n}", f"a sentence {n % classes}") for n in range(rows)])
    with pytest.raises(InputError) as caught:
        examples_of(Classification, options, "train")
    assert str(caught.value) == (
        f'{tmp_path / "a.csv"}: label column "label" has {classes} different values in {rows} '
        "rows, so they are no classes; name another with --label_column_name; the columns are "
        "text, label, author"
    )
    # An evaluation holds its labels against the model's classes.
    held_out = dataclasses.replace(options, train_file=None, validation_file=options.train_file)
    assert examples_of(Classification, held_out, "validation") is not None


@pytest.mark.parametrize(("rows", "classes"), [(4, 2), (19, 19), (20, 18), (48, 43), (300, 150)])
def test_few_rows_of_a_class_are_enough(tmp_path: Path, rows: int, classes: int) -> None:
    data = examples_of(
        Classification, csv(tmp_path, [("a", f"c{n % classes}") for n in range(rows)]), "train"
    )
    assert data is not None
    assert len(data.classes) == classes


def test_declared_classes_and_numbers_may_all_differ(tmp_path: Path) -> None:
    table = datasets.Dataset.from_dict(
        {"text": ["a"] * 30, "label": list(range(30))},
        features=datasets.Features(
            {
                "text": datasets.Value("string"),
                "label": datasets.ClassLabel(names=[f"c{n}" for n in range(30)]),
            }
        ),
    )
    table.save_to_disk(str(tmp_path / "saved"))
    options = ClassificationTrainOptions(train_file=[str(tmp_path / "saved")])
    data = examples_of(Classification, options, "train")
    assert data is not None
    assert len(data.classes) == 30
    rows = csv(tmp_path, [("a", str(n)) for n in range(30)])
    numbers = RegressionTrainOptions(train_file=rows.train_file)
    found = examples_of(Regression, numbers, "train")
    assert found is not None
    assert len(found.examples) == 30
