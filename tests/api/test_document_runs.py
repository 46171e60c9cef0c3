"""Trainings that read sentences within their documents: packed, stopped, kept, evaluated, asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from python_rows import SMALL_RUN, file_of, rows_of
from scripts import refuses
from test_resume_by_command import interrupt

import jaxbert
from jaxbert import InputError, Tagger

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("compilations")]

RUN: dict[str, Any] = {**SMALL_RUN, "max_eval_samples": None, "packing": True}
RUN["document_context"] = True


def rows(part: str, count: int) -> list[dict[str, Any]]:
    """Sentences of the demo, three a document, without words that have punctuation inside: what is
    tagged as text is cut there."""
    found = [
        row
        for row in rows_of("tagging", part)
        if all(word.isalnum() or len(word) == 1 for word in row["tokens"])
    ]
    return [{**row, "story": n // 3} for n, row in enumerate(found[:count])]


def conll(part: str, count: int, folder: Path) -> Path:
    """The same in CoNLL."""
    lines = []
    for n, row in enumerate(rows(part, count)):
        lines += ["", "-DOCSTART- O"] * (n % 3 == 0) + [""]
        lines += map("\t".join, zip(row["tokens"], row["ner_tags"], strict=True))
    path = folder / f"{part}.conll"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("documents")
    files = {"train": conll("train", 12, folder), "validation": conll("dev", 6, folder)}
    return {f"{part}_data": str(path) for part, path in files.items()}


def train(folder: Path, model: Path, **given: Any) -> jaxbert.Run:
    return jaxbert.train("tagging", **{**RUN, "model": model, "output_dir": folder, **given})


@pytest.fixture(scope="module")
def whole(
    tiniest_folder: Path, data: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> jaxbert.Run:
    return train(tmp_path_factory.mktemp("run") / "whole", tiniest_folder, **data)


def test_a_resumed_run_is_the_same_to_the_bit_from_files_and_rows(
    whole: jaxbert.Run, data: dict[str, str], tiniest_folder: Path, tmp_path: Path
) -> None:
    """Begun and resumed, from files, from rows, and with examples and features that were kept."""
    folder = tmp_path / "part"
    of_rows = {
        "train_data": rows("train", 12),
        "validation_data": rows("dev", 6),
        "document_column_name": "story",
    }
    assert not train(folder, tiniest_folder, callbacks=[interrupt], **data).done
    with pytest.raises(InputError, match="a run keeps its examples, which depend on --document_co"):
        train(folder, tiniest_folder, **data, document_context=False)
    cache = str(tmp_path / "cache")
    resumed = train(folder, tiniest_folder, **data, cache_dir=cache)
    again = train(tmp_path / "again", tiniest_folder, **of_rows, cache_dir=cache)
    kept = train(tmp_path / "kept", tiniest_folder, **data, cache_dir=cache)
    for name in ("model.safetensors", "predictions.json"):
        first = Path(whole.output_dir, name).read_bytes()
        assert all(Path(r.output_dir, name).read_bytes() == first for r in (resumed, again, kept))
    assert resumed.scores == again.scores == whole.scores


def test_what_is_evaluated_and_asked_has_the_same_context(
    whole: jaxbert.Run, data: dict[str, str]
) -> None:
    saved = json.loads((Path(whole.output_dir) / "predictions.json").read_text())
    held_out = rows("dev", 6)
    assert [p["words"] for p in saved] == [row["tokens"] for row in held_out]
    found = whole.predict([{**row, "document": row["story"]} for row in held_out])
    assert [p["tags"] for p in found] == [p["tags"] for p in saved]
    tag = whole.predictor()
    assert isinstance(tag, Tagger)

    def of_words(texts: list[list[str]], **more: Any) -> list[list[tuple[int, float]]]:
        """Where each word begins, and the score of its label."""
        results: Any = tag(texts, is_split_into_words=True, ignore_labels=[], **more)
        kept = []
        for words, tokens in zip(texts, results, strict=True):
            starts = np.cumsum([0, *(len(word) + 1 for word in words)])[:-1].tolist()
            first = {t["start"]: float(t["score"]) for t in reversed(tokens)}
            kept.append([(start, first[start]) for start in starts])
        return kept

    for n in (0, 3):
        texts = [row["tokens"] for row in held_out[n : n + 3]]
        together = [[score for _, score in one] for one in of_words(texts)]
        for one, prediction in zip(together, saved[n : n + 3], strict=True):
            assert one == pytest.approx(prediction["scores"], rel=1e-5)
        alone = of_words(texts, document_context=False)
        assert alone != of_words(texts)
        for text, one in zip(texts, alone, strict=True):
            np.testing.assert_allclose(of_words([text])[0], one, rtol=1e-5)
    assert "with what stands around it" in (Path(whole.output_dir) / "README.md").read_text()


def test_what_cannot_be_read_together_is_refused(whole: jaxbert.Run) -> None:
    tag = whole.predictor()
    assert isinstance(tag, Tagger)
    with pytest.raises(InputError, match="a generator is read text by text"):
        tag(iter(["one", "two"]))
    with pytest.raises(InputError, match="stride cuts every text as the pipeline does"):
        tag(["one", "two"], stride=2, aggregation_strategy="first")
    assert list(tag(iter(["one"]), document_context=False)) == [tag("one")]
    message = refuses(
        "eval/tagging.py",
        "--model_name_or_path",
        str(whole.output_dir),
        "--validation_file",
        str(file_of("tagging", "dev")),
        "--output_dir",
        "elsewhere",
    )
    assert "no -DOCSTART- line says where a document begins" in message


def test_a_served_model_reads_each_request_alone(whole: jaxbert.Run) -> None:
    pytest.importorskip("fastapi", reason='needs pip install "jaxbert[serve]"')
    from jaxbert.serve.served_models import open_models
    from jaxbert.serve.wire import Ask

    (model,) = open_models([str(whole.output_dir)], 2).values()
    texts = ["Anna Bauer moved to Lisbon.", "Jonas stayed in Norway."]
    both = model.answer([Ask(text=text) for text in texts])
    assert both == [model.answer([Ask(text=text)])[0] for text in texts]
