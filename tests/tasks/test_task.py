"""What the tasks share: the order of classes and the class of a label."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxbert.errors import InputError
from jaxbert.model.config import BertConfig
from jaxbert.tasks.task import EVALUATION, number_of, sorted_classes


def test_classes_that_are_numbers_are_ordered_as_such() -> None:
    assert sorted_classes({"10", "9", "-1", "0"}) == ("-1", "0", "9", "10")
    assert sorted_classes({"1", "01"}) == ("01", "1")


def test_other_classes_are_ordered_as_words() -> None:
    assert sorted_classes({"10", "9", "no"}) == ("10", "9", "no")
    assert sorted_classes({"-", "1"}) == ("-", "1")
    assert sorted_classes({"1.5", "1"}) == ("1", "1.5")


@given(st.sets(st.text(min_size=1), min_size=1))
def test_every_class_is_in_the_order_once(names: set[str]) -> None:
    assert sorted(sorted_classes(names)) == sorted(names)


@given(st.sets(st.integers(-(10**6), 10**6), min_size=1))
def test_numbers_ascend(numbers: set[int]) -> None:
    assert [int(name) for name in sorted_classes({str(n) for n in numbers})] == sorted(numbers)


def test_the_number_of_a_label_is_its_place_in_the_config() -> None:
    cfg = BertConfig(id2label=("no", "yes"))
    assert [number_of(name, cfg, "x") for name in ("yes", "no")] == [1, 0]


def test_an_unknown_label_is_named_with_its_row_and_the_classes() -> None:
    with pytest.raises(InputError) as caught:
        number_of("maybe", BertConfig(id2label=("no", "yes")), "dev.tsv: line 7")
    assert str(caught.value) == "dev.tsv: line 7: label 'maybe' is none of the model's: no, yes"


def test_of_many_classes_twenty_are_named() -> None:
    names = [f"c{number}" for number in range(21)]
    for count, end in ((20, "c18, c19"), (21, "c18, c19, ...")):
        with pytest.raises(InputError) as caught:
            number_of("x", BertConfig(id2label=tuple(names[:count])), "f: row 0")
        assert str(caught.value).endswith(end)


def test_no_step_has_the_number_of_an_evaluation() -> None:
    assert EVALUATION > 10**9  # of --max_steps
