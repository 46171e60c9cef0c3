"""What a search varies, read of words."""

from __future__ import annotations

import pytest

from jaxbert.errors import InputError
from jaxbert.options.search_space import SearchedFlag, read_space
from jaxbert.options.task_settings import ClassificationTrainOptions


def test_ranges_and_values_are_read() -> None:
    words = ["learning_rate=1e-5:5e-5:log", "warmup_ratio=0:0.2", "--warmup_steps=1:9"]
    words += ["num_train_epochs=2,3,4", "packing=yes,no", "model_name_or_path=bert-base,runs/a"]
    assert read_space(words, ClassificationTrainOptions) == [
        SearchedFlag("learning_rate", low=1e-5, high=5e-5, log=True),
        SearchedFlag("warmup_ratio", low=0, high=0.2),
        SearchedFlag("warmup_steps", whole=True, low=1, high=9),
        SearchedFlag("num_train_epochs", choices=(2.0, 3.0, 4.0)),
        SearchedFlag("packing", choices=(True, False)),
        SearchedFlag("model_name_or_path", choices=("bert-base", "runs/a")),
    ]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("learning_rate", "--search learning_rate: give NAME=LOW:HIGH, NAME=LOW:HIGH:log or"),
        ("learning_rate=", "--search learning_rate=: give NAME=LOW:HIGH"),
        ("learning_rat=1:2", "--search: --learning_rat is not an option; did you mean --learning_"),
        ("learning_rate=5e-5:1e-5", "the range must rise"),
        ("learning_rate=1e-5:1e-5", "the range must rise"),
        ("learning_rate=0:1e-5:log", "a logarithmic range begins above 0"),
        ("learning_rate=1:2:lin", "--search learning_rate=1:2:lin: give NAME=LOW:HIGH"),
        ("learning_rate=1:2:3:log", "give NAME=LOW:HIGH"),
        ("learning_rate=-1:1", "--search: --learning_rate -1.0: it must be from 0 to 1000"),
        ("learning_rate=a:b", "--search: --learning_rate 'a': it must be a number"),
        ("learning_rate=nan:1", "--search: --learning_rate nan: it must be from 0 to 1000"),
        ("max_seq_length=8.5:9", "--search: --max_seq_length '8.5': it must be a whole number"),
        ("learning_rate=1e-5", "give two different values or more, or a range LOW:HIGH"),
        ("learning_rate=1e-5,1e-5", "give two different values or more"),
        ("lr_scheduler_type=linear,cubic", "it must be one of linear, cosine"),
        ("output_dir=a,b", "--search output_dir: it does not change what a run computes"),
        ("train_file=a,b", "--search train_file: it does not change what a run computes"),
        ("seed=1,2", "--search seed: the best of several seeds is luck"),
        ("metric_for_best_model=f1,accuracy", "all trials are judged by one score"),
        ("freeze=a,b", "--search freeze: its value is a list or JSON"),
        ("loss_args={},{}", "--search loss_args: its value is a list or JSON"),
    ],
)
def test_what_cannot_be_searched_is_refused(word: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_space([word], ClassificationTrainOptions)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_flag_is_searched_once() -> None:
    with pytest.raises(InputError, match="--search packing: it is there twice"):
        read_space(["packing=True,False", "packing=True,False"], ClassificationTrainOptions)
