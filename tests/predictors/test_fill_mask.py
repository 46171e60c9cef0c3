"""FillMask against transformers' fill-mask pipeline."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import transformers
from tiny_models import POSITIONS, assert_near, tiny_model

from jaxbert import FillMask, InputError
from jaxbert.options.task_settings import MLMOptions
from jaxbert.runs.record import RunRecord

pytestmark = pytest.mark.integration

ONE = "Who is the [MASK] of Zoë, at 25°C?"
TWO = "[MASK] is in 北京, \U0001f682 and[MASK]\u2603!"
THREE = "the [MASK] [PAD] [MASK] [MASK]"
LONG = "[MASK] is the " + "train of Ada, " * 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("mlm"), "mlm")


@pytest.fixture(scope="module")
def fill(folder: Path) -> FillMask:
    return FillMask.from_pretrained(folder, batch_size=2)


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Any:
    return transformers.pipeline("fill-mask", model=str(folder))


@pytest.mark.parametrize("more", [{}, {"top_k": 1}, {"top_k": 2}])
@pytest.mark.parametrize("text", [ONE, TWO])
def test_tokens_are_those_of_the_pipeline(
    fill: FillMask, pipeline: Any, text: str, more: dict[str, Any]
) -> None:
    assert_near(fill(text, **more), pipeline(text, **more))


def test_lists_are_those_of_the_pipeline(fill: FillMask, pipeline: Any) -> None:
    """Of a list of one text too, which has the result without the list, as there."""
    texts = [ONE, TWO, THREE, "[MASK]"]
    theirs = pipeline(texts)
    assert_near(fill(texts), theirs)
    assert [isinstance(one[0], list) for one in theirs] == [False, True, True, False]
    assert_near(fill([ONE]), pipeline([ONE]))
    assert fill([]) == []


def test_the_whole_vocabulary(fill: FillMask, pipeline: Any) -> None:
    """Special tokens too, which are left out of the sequence as the pipeline does."""
    size = len(pipeline.tokenizer)

    def sorted_classes(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        # The order of tokens that are as likely but for the last bits may differ.
        return sorted(found, key=lambda one: one["token"])

    (one, two), (their_one, their_two) = (f([ONE, TWO], top_k=size) for f in (fill, pipeline))
    for ours, theirs in zip([one, *two], [their_one, *their_two], strict=True):
        assert_near(sorted_classes(ours), sorted_classes(theirs))
        scores = [one["score"] for one in ours]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] > 10 / size
        assert sum(scores) == pytest.approx(1, abs=1e-5)
    with pytest.raises(InputError, match=f"top_k is {size + 1}: it must be from 1 to {size}"):
        fill(ONE, top_k=size + 1)


def test_small_top_k_share_a_program(fill: FillMask) -> None:
    fill(ONE)
    before = len(fill.model.programs)
    for top_k in (1, 3, 8):
        assert len(fill(ONE, top_k=top_k)) == top_k
    assert len(fill.model.programs) == before


def test_long_texts_are_cut(fill: FillMask, folder: Path, pipeline: Any, tmp_path: Path) -> None:
    """To the positions of the model, or to max_seq_length of options.json."""
    shutil.copytree(folder, tmp_path / "run")
    record = RunRecord.of("mlm", MLMOptions(max_seq_length=12), rows_per_step=1)
    record.write(tmp_path / "run")
    short = FillMask.from_pretrained(tmp_path / "run")
    for ours, length in ((fill, POSITIONS), (short, 12)):
        cut = {"truncation": True, "max_length": length}
        assert_near(ours(LONG), pipeline(LONG, tokenizer_kwargs=cut))
    with pytest.raises(InputError, match=r"text 1: a \[MASK\] is not within the first 12 tokens"):
        short([ONE, LONG + "[MASK]"])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("Who is Ada?", r"text 0: it has no \[MASK\]"),
        ([ONE, ""], r"text 1: it has no \[MASK\]"),
        ([ONE, "the [mask]"], r"text 1: it has no \[MASK\]"),
        ([ONE, None], "text 1 is not a string"),
        (None, "inputs has the wrong type: NoneType"),
        ({"text": ONE}, "inputs has the wrong type: dict"),
    ],
)
def test_wrong_input_is_named(fill: FillMask, inputs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fill(inputs)


def test_top_k_below_1(fill: FillMask) -> None:
    with pytest.raises(InputError, match="top_k is 0"):
        fill(ONE, top_k=0)


def test_lone_surrogates_do_no_harm(fill: FillMask) -> None:
    assert fill("Ada \ude82 [MASK]") == fill("Ada \ufffd [MASK]")
