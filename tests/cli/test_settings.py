"""Settings: a value gives the same, or the same refusal, wherever it comes from."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import hypothesis
import numpy as np
import pytest
from every_task import OPTIONS
from hypothesis import given
from hypothesis import strategies as st

from jaxbert.cli import command_line
from jaxbert.cli.foreign_flags import FOREIGN
from jaxbert.errors import InputError
from jaxbert.options import command_settings, settings, task_settings
from jaxbert.options.fields import Setting, Settings, option, settings_of
from jaxbert.options.keywords import make_settings

QA = task_settings.QATrainOptions
CLASSES = task_settings.ClassificationTrainOptions


def refusal(make: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        make()
    message = str(caught.value)
    assert message.isprintable()
    return message


# --- from Python --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("output_dir", Path("a/b"), "a/b"),
        ("train_file", "x.json", ["x.json"]),
        ("train_file", Path("x.json"), ["x.json"]),
        ("train_file", (Path("x.json"), "y.json"), ["x.json", "y.json"]),
        ("label_column_name", "Quality", ["Quality"]),
        ("freeze", [], None),
        ("num_train_epochs", 2, 2.0),
        ("learning_rate", np.float64(3e-5), 3e-5),
        ("max_steps", np.int32(7), 7),
        ("packing", np.bool_(True), True),
        ("loss_args", {"gamma": 1.0}, '{"gamma": 1.0}'),
        ("problem_type", None, None),
    ],
)
def test_what_python_gives_is_kept_as_a_command_line_gives_it(
    name: str, value: object, kept: object
) -> None:
    for found in (
        CLASSES(**{name: value}),  # type: ignore[arg-type]
        make_settings(CLASSES, {name: value}),
        dataclasses.replace(CLASSES(), **{name: value}),  # type: ignore[arg-type]
    ):
        assert getattr(found, name) == kept
        assert type(getattr(found, name)) is type(kept)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("dtype", "float64", "--dtype 'float64': it must be one of float32, bfloat16, float16"),
        ("dtype", np.float32, "--dtype (of type type): it must be one of float32, bfloat16"),
        ("seed", True, "--seed True: it must be a whole number from 0 to 4.29497e+09"),
        ("seed", 1.0, "--seed 1.0: it must be a whole number from 0 to 4.29497e+09"),
        ("seed", "1", "--seed '1': it must be a whole number from 0 to 4.29497e+09"),
        ("seed", -1, "--seed -1: it must be from 0 to 4.29497e+09"),
        ("learning_rate", True, "--learning_rate True: it must be a number from 0 to 1000"),
        ("learning_rate", None, "--learning_rate None: it must be a number from 0 to 1000"),
        ("learning_rate", math.nan, "--learning_rate nan: it must be from 0 to 1000"),
        ("learning_rate", 10**400, "--learning_rate inf: it must be from 0 to 1000"),
        ("packing", 1, "--packing 1: it must be True or False"),
        ("output_dir", 3, "--output_dir 3: it must be a string"),
        ("train_file", 3, "--train_file 3: it must be a string, or a list of them"),
        (
            "train_file",
            ["a", None],
            "--train_file ['a', None]: it must be a string, or a list of them",
        ),
        (
            "train_file",
            np.zeros(2),
            "--train_file (of type ndarray): it must be a string, or a list of them",
        ),
        ("loss_args", {"f": abs}, "it must be a string of JSON, or a dict"),
        ("output_dir", "az://a", "--output_dir az://a: an address; az:// is not supported"),
        ("output_dir", "gs://a", "--output_dir gs://a: no address of a bucket; give gs://BUCKET"),
        ("train_file", ["a", "s3://b c/d"], "--train_file s3://b c/d: no address of a bucket"),
        ("train_file", ["s3:/bucket/x"], "--train_file s3:/bucket/x: did you mean s3://bucket/"),
        ("compilation_cache_dir", "s3://bucket/x", "s3://bucket/x: an address; s3:// is not"),
        ("eval_steps", 0.1, "--eval_steps 0.1: it must be a whole number from 1 to 1e+09"),
    ],
)
def test_what_is_wrong_is_one_line(name: str, value: object, message: str) -> None:
    found = refusal(lambda: CLASSES(**{name: value}))  # type: ignore[arg-type]
    assert message in found
    plain = CLASSES()
    assert refusal(lambda: dataclasses.replace(plain, **{name: value})) == found  # type: ignore[arg-type]


def test_a_number_with_more_digits_than_python_writes_is_refused() -> None:
    message = refusal(lambda: QA(seed=10**5000))
    assert message == "--seed (of type int): it must be from 0 to 4.29497e+09"


def test_unknown_names_are_told_as_unknown_flags_are() -> None:
    near = refusal(lambda: make_settings(QA, {"learning_rte": 1}))
    assert near == "--learning_rte is not an option; did you mean --learning_rate?"
    assert refusal(lambda: command_line.parse(QA, ["--learning_rte", "1"])) == near
    far = refusal(lambda: make_settings(QA, {"colour": 1}))
    assert far == "--colour is not an option; the fields of QATrainOptions are the options"


def test_other_defaults_give_way_to_what_is_given() -> None:
    def defaults(found: task_settings.QATrainOptions) -> dict[str, object]:
        return {"seed": found.seed + 1, "max_steps": 5}

    assert make_settings(QA, {}, defaults=defaults) == QA(seed=43, max_steps=5)
    given = {"max_steps": 7, "seed": 42}  # a default that is given is given
    assert make_settings(QA, given, defaults=defaults) == QA(seed=42, max_steps=7)
    wrong = {"dtype": "half"}
    assert "--dtype 'half'" in refusal(lambda: make_settings(QA, {}, defaults=lambda _: wrong))


# --- the facts ----------------------------------------------------------------------------------

ROOMS = (settings, task_settings, command_settings)
KINDS = {cls for room in ROOMS for cls in vars(room).values() if isinstance(cls, type)}
KINDS = {cls for cls in KINDS if issubclass(cls, Settings)}


@pytest.mark.parametrize("cls", sorted(KINDS, key=lambda cls: cls.__name__))
def test_every_default_is_one_that_the_setting_takes(cls: type[Settings]) -> None:
    for setting in settings_of(cls):
        kept = setting.check(setting.default)
        assert kept == setting.default
        assert type(kept) is type(setting.default)
        assert setting.facts.range is None or setting.kind in (int, float)
        assert bool(setting.facts.reason) == (setting.facts.resume == "never")


@dataclasses.dataclass(frozen=True)
class Chosen(Settings):
    where: list[Literal["here", "there"]] | None = option(None, "Where.")


def test_each_of_several_choices_is_checked() -> None:
    assert make_settings(Chosen, {"where": "here"}).where == ["here"]
    assert command_line.parse(Chosen, ["--where", "there", "here"]).where == ["there", "here"]
    message = refusal(lambda: make_settings(Chosen, {"where": ["here", "nowhere"]}))
    assert (
        message == "--where ['here', 'nowhere']: it must be one of here, there, or a list of them"
    )


# --- one value, three places --------------------------------------------------------------------


def values(setting: Setting) -> st.SearchStrategy[Any]:
    """Right and wrong values that all three can write."""
    if setting.choices:
        return st.sampled_from((*setting.choices, "other", setting.choices[0].upper()))
    if setting.kind is bool:
        return st.booleans() | st.just("maybe")
    whole = st.integers(-(2**70), 2**70) | st.integers(-2, 2)
    if setting.kind is int:
        return whole | st.sampled_from(["many", "1e3"])
    if setting.kind is float:
        return whole | st.floats() | st.floats(0, 1) | st.just("high")
    text = st.text("abcé漢 .:/_~%\\\"'[{", min_size=1) | st.just("gs://bucket/x")
    return st.lists(text, min_size=1, max_size=3) if setting.several else text


def outcome(make: Callable[[], Settings]) -> Settings | str:
    try:
        return make()
    except InputError as error:
        return str(error)


# Flags that other scripts have too may mean something else there: see test_migrating_flags.py.
CASES = [
    (name, setting)
    for name, cls in OPTIONS.items()
    for setting in settings_of(cls)
    if setting.name not in FOREIGN
]


@hypothesis.settings(deadline=None, derandomize=True, max_examples=200)
@given(case=st.sampled_from(CASES).flatmap(lambda c: st.tuples(st.just(c), values(c[1]))))
def test_a_value_is_the_same_wherever_it_comes_from(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[tuple[str, Setting], Any]
) -> None:
    (name, setting), value = case
    cls = OPTIONS[name]
    python = outcome(lambda: cls(**{setting.name: value}))
    path = str(tmp_path_factory.getbasetemp() / "options.json")
    Path(path).write_text(json.dumps({setting.name: value}))
    from_file = outcome(lambda: command_line.parse(cls, [path]))
    flag = f"--{setting.name}"
    words = [flag, *value] if isinstance(value, list) else [f"{flag}={value}"]
    from_words = outcome(lambda: command_line.parse(cls, words))
    if isinstance(python, str):
        assert from_file == f"{path}: {python}"
        assert from_words == python
    else:
        assert repr(from_file) == repr(python)
        assert repr(from_words) == repr(python)
