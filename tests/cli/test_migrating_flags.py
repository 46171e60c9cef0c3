"""Command lines of other scripts: what each flag becomes, and that all advice can be taken."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest
from conftest import REPOSITORY
from parsed_lines import CLASSES, EVALUATIONS, KINDS, MLM, NUMBERS, QA, TAGS, refusal
from transformers import TrainingArguments

from jaxbert.cli import command_line
from jaxbert.cli.foreign_flags import FOREIGN, GLUE, OPTIMIZERS, SOURCES
from jaxbert.cli.migrating import Answer, Case, Foreign
from jaxbert.options import task_settings
from jaxbert.training.update_rules import RULES

# --- the table ----------------------------------------------------------------------------------


def test_every_training_argument_of_transformers_has_an_answer() -> None:
    ours = {field.name for field in dataclasses.fields(QA)}
    theirs = {field.name for field in dataclasses.fields(TrainingArguments)}
    assert theirs - ours - FOREIGN.keys() == set()
    # And what is listed as theirs is theirs, or was.
    assert {flag.name for flag in SOURCES["TrainingArguments"]} - theirs == set()


def test_optimizers_are_those_that_there_are() -> None:
    assert list(OPTIMIZERS) == list(RULES)


def test_a_flag_is_in_the_table_once() -> None:
    names = [flag.name for flags in SOURCES.values() for flag in flags]
    assert len(names) == len(set(names))


def test_a_flag_that_is_no_option_has_an_answer_to_any_value() -> None:
    for kind, flag in itertools.product(KINDS, FOREIGN.values()):
        passed_over = flag.training and kind in EVALUATIONS
        if not passed_over and flag.name not in {f.name for f in dataclasses.fields(kind)}:
            last = [c for c in flag.cases if not c.of or issubclass(kind, c.of)][-1]
            assert last.beside is None
            assert last.values is None or flag.takes == "switch", (flag.name, kind)


def answers() -> Iterator[tuple[Any, Foreign, Case]]:
    """Every answer that a script can give."""
    for kind, flag in itertools.product(KINDS, FOREIGN.values()):
        if flag.training and kind in EVALUATIONS:
            continue
        for case in flag.cases:
            if not case.of or issubclass(kind, case.of):
                yield kind, flag, case


def test_what_a_flag_becomes_and_what_is_advised_are_options_of_the_script(tmp_path: Path) -> None:
    seen = 0
    for kind, flag, case in answers():
        words = [re.sub("^(DIR|FILE)$", str(tmp_path), w) for w in case.answer.becomes("1")]
        if words:
            command_line.parse(kind, words)
            seen += 1
        for name in re.findall(r"--(\w+)", re.sub("`.*?`", "", case.answer.text)):
            names = {field.name for field in dataclasses.fields(kind)}
            assert name in names, (flag.name, kind, case.answer.text)
    assert seen > 300


def test_scripts_that_are_named_are_there() -> None:
    texts = " ".join(case.answer.text for _, _, case in answers())
    scripts = set(re.findall(r"\b(?:train|eval)/\w+\.py", texts))
    assert scripts >= {"train/regression.py", "eval/classification.py"}
    assert all((REPOSITORY / script).is_file() for script in scripts)


# --- flags that are taken -----------------------------------------------------------------------

TAKEN: dict[str, tuple[Any, dict[str, Any]]] = {
    "--per_gpu_train_batch_size 3": (QA, {"per_device_train_batch_size": 3}),
    "--per_gpu_eval_batch_size=3": (QA, {"per_device_eval_batch_size": 3}),
    "--predict_batch_size 3": (QA, {"per_device_eval_batch_size": 3}),
    "--predict_file a.json": (QA, {"validation_file": ["a.json"]}),
    "--bert_model x": (QA, {"model_name_or_path": "x"}),
    "--report_to none": (QA, {"report_to": ["none"]}),
    "--report_to wandb": (QA, {"report_to": ["wandb"]}),
    "--report_to tensorboard mlflow": (MLM, {"report_to": ["tensorboard", "mlflow"]}),
    "--bf16": (QA, {"dtype": "bfloat16"}),
    "--bf16 False": (QA, {"dtype": "float32"}),
    "--fp16": (QA, {"dtype": "float16"}),
    "--tf32 False": (QA, {"matmul_precision": "highest"}),
    "--no_tf32": (QA, {"matmul_precision": "highest"}),
    "--optim adafactor": (QA, {"optim": "adafactor"}),
    "--optim lion_32bit": (QA, {"optim": "lion"}),
    "--optim my.py:mine": (QA, {"optim": "my.py:mine"}),
    "--optim adamw": (QA, {"optim": "adamw"}),
    '--optim_args {"momentum":0.9}': (QA, {"optim_args": '{"momentum":0.9}'}),
    "--adafactor": (QA, {"optim": "adafactor"}),
    "--half_precision": (MLM, {"dtype": "bfloat16"}),
    "--activation_checkpointing": (QA, {"gradient_checkpointing": True}),
    "--warmup_proportion 0.1": (QA, {"warmup_ratio": 0.1}),
    "--warmup_steps 0.1": (QA, {"warmup_ratio": 0.1, "warmup_steps": 0}),
    "--warmup_steps 10": (QA, {"warmup_steps": 10}),
    "--num_warmup_steps 10": (QA, {"warmup_steps": 10}),
    "--max_train_steps 10": (QA, {"max_steps": 10}),
    "--max_length 10": (CLASSES, {"max_seq_length": 10}),
    "--save_checkpoints_steps 10": (QA, {"save_steps": 10}),
    "--checkpointing_steps 10": (QA, {"save_steps": 10}),
    "--checkpointing_steps epoch": (QA, {"save_steps": None}),
    "--save_strategy steps": (QA, {"save_steps": 500}),  # the Trainer's own default
    "--save_strategy steps --save_steps 7": (QA, {"save_steps": 7}),
    "--save_strategy epoch": (QA, {"save_steps": None}),
    "--eval_strategy no": (QA, {"eval_steps": 10**9}),
    "--evaluation_strategy no": (QA, {"eval_steps": 10**9}),
    "--eval_strategy epoch": (QA, {"eval_steps": None}),
    "--eval_strategy steps --eval_steps 7": (QA, {"eval_steps": 7}),
    "--label_smoothing_factor 0.1": (
        *(CLASSES,),
        {"loss": "label_smoothing", "loss_args": '{"smoothing": 0.1}'},
    ),
    "--label_smoothing_factor 0.0": (CLASSES, {"loss": "cross_entropy", "loss_args": None}),
    "--label_smoothing_factor 0": (QA, {"loss": "cross_entropy"}),
    "--task_name MRPC": (
        *(CLASSES,),
        {"dataset_name": "nyu-mll/glue", "dataset_config_name": "mrpc"},
    ),
    "--task_name ner": (TAGS, {"dataset_name": None, "label_column_name": None}),
    "--validation_split_name test": (CLASSES, {"validation_split": "test"}),
    "--max_predict_samples 3": (task_settings.QAEvalOptions, {"max_eval_samples": 3}),
    "--bf16_full_eval": (task_settings.QAEvalOptions, {"dtype": "bfloat16"}),
    # Spelled with dashes, as HfArgumentParser takes them.
    "--per-device-train-batch-size 3": (QA, {"per_device_train_batch_size": 3}),
    "--per-gpu-train-batch-size 3": (QA, {"per_device_train_batch_size": 3}),
    "--no-whole-word-mask": (MLM, {"whole_word_mask": False}),
    "--null_score_diff_threshold -1e-5": (QA, {"null_score_diff_threshold": -1e-5}),
}


@pytest.mark.parametrize("line", TAKEN)
def test_taken(line: str) -> None:
    kind, wanted = TAKEN[line]
    found = dataclasses.asdict(command_line.parse(kind, line.split()))
    assert {name: found[name] for name in wanted} == wanted
    others = dataclasses.asdict(kind())
    assert {n: x for n, x in found.items() if n not in wanted} == {
        n: x for n, x in others.items() if n not in wanted
    }


@pytest.mark.parametrize("flag", ["--use_cpu", "--no_cuda"])
def test_the_cpu_is_asked_for_before_jax_looks_for_devices(
    flag: str,
) -> None:
    before = jax.config.values["jax_platforms"]
    jax.config.update("jax_platforms", "cuda,cpu")
    try:
        command_line.parse(QA, [flag, "False"])
        assert jax.config.values["jax_platforms"] == "cuda,cpu"
        command_line.parse(QA, [flag])
        assert jax.config.values["jax_platforms"] == "cpu"
    finally:
        jax.config.update("jax_platforms", before)


@pytest.mark.parametrize(
    "line",
    [
        "--predict_file a.json --validation_file b.json",
        "--validation_file b.json --predict_file a.json",
        "--per_gpu_eval_batch_size 2 --predict_batch_size 3",
        "--warmup_proportion 0.1 --warmup_ratio 0.2",
        "--bf16 --dtype float32",
    ],
)
def test_an_option_is_not_given_under_two_names(line: str) -> None:
    assert "give one of them" in refusal(QA, *line.split())


# --- flags that are understood ------------------------------------------------------------------

UNDERSTOOD = {
    "--optim adamw_torch": "AdamW",
    "--optim adamw_torch_fused": "AdamW",
    "--optim adamw_hf": "AdamW",
    "--model_type bert": "the model's config.json says what it is",
    "--do_lower_case": "the model's own tokenizer settings decide",
    "--group_by_length": "--length_bucket",
    "--train_sampling_strategy group_by_length": "--length_bucket",
    "--train_sampling_strategy random": "--seed",
    "--prediction_loss_only": "scores are computed too",
    "--run_name x": "train_log.jsonl",
    "--log_level error": "standard output",
    "--disable_tqdm True": "progress bar",
    "--greater_is_better True": "the score",
    "--use_auth_token": "HF_TOKEN",
    "--model_revision main": "newest",
    "--local_rank -1": "one process",
    "--torch_compile": "XLA",
    "--gradient_checkpointing_kwargs {}x": "whole layers",
    "--hub_strategy every_save": "uploads the model once",
    "--eval_accumulation_steps 3": "host",
    "--dataloader_num_workers 3": "thread",
    "--dataloader_pin_memory": "thread",
    "--verbose_logging": "reported",
    "--threads 4": "threads",
    "--resume_from_checkpoint True": "is resumed",
    "--overwrite_cache": "--cache_dir is read",
    "--logging_strategy steps": "--logging_steps",
    "--eval_delay 0": "not late",
    "--full_determinism": "equal bits",
    "--average_tokens_across_devices": "all devices",
    "--metric_for_best_model eval_f1 --greater_is_better True": "says it itself",
}


@pytest.mark.parametrize("line", UNDERSTOOD)
def test_understood(line: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "jaxbert"):
        found = command_line.parse(QA, line.split())
    assert UNDERSTOOD[line] in caplog.text
    assert dataclasses.replace(found, metric_for_best_model=None) == QA()


@pytest.mark.parametrize(
    "line",
    [
        "--report_to []",
        "--fp16 False",
        "--do_train --do_predict False",
        "--push_to_hub False",
        "--deepspeed None",
        "--fsdp=",
        "--no_skip_memory_metrics False",
        "--neftune_noise_alpha None",
        "--use_tpu=False",
        "--remove_unused_columns False",
    ],
)
def test_what_asks_for_nothing_is_passed_over(line: str) -> None:
    if "no_skip" in line:
        assert "True or False" not in refusal(QA, "--no_skip_memory_metrics")
        return
    assert command_line.parse(QA, line.split()) == QA()


def test_an_evaluation_passes_over_what_is_of_training(caplog: pytest.LogCaptureFixture) -> None:
    line = "--do_eval --optim adafactor --warmup_proportion 0.1 --eval_strategy no"
    line += " --learning_rate 3e-5 --train_file a.json b.json --packing"
    with caplog.at_level(logging.INFO, "jaxbert"):
        found = command_line.parse(task_settings.QAEvalOptions, line.split())
    assert found == task_settings.QAEvalOptions()
    assert caplog.text.count("nothing is trained here") == 6
    assert "train/" in refusal(task_settings.QAEvalOptions, "--do_train", "--do_eval")


def test_an_evaluation_has_a_report_but_no_curves() -> None:
    evaluation = task_settings.QAEvalOptions
    assert command_line.parse(evaluation, ["--report_to", "tensorboard"]) == evaluation()
    found = command_line.parse(evaluation, ["--report_to", "none"])
    assert found == evaluation(report_to=["none"])


# --- flags that are refused ---------------------------------------------------------------------

REFUSED: dict[str, tuple[Any, str]] = {
    "--optim adamw_bnb_8bit": (QA, "whose state is float32"),
    "--optim galore_adamw": (QA, "write a function of optax; give --optim FILE.py:FUNCTION"),
    "--optim_args rank=4,scale=2": (QA, "its options are JSON"),
    "--eval_strategy steps": (QA, "give --eval_steps 500"),
    "--eval_strategy sometimes": (QA, "no, steps or epoch"),
    "--eval_strategy epoch --eval_steps 3": (QA, "leave one of them out"),
    "--eval_strategy no --load_best_model_at_end": (QA, "give --eval_steps 500"),
    "--save_strategy no": (QA, "give --save_steps 1000"),
    "--save_strategy best": (QA, "give --load_best_model_at_end"),
    "--save_strategy epoch --save_steps 3": (QA, "leave one of them out"),
    "--logging_strategy epoch": (QA, "give --logging_steps 100"),
    "--report_to comet_ml": (QA, "tensorboard, wandb or mlflow"),
    "--report_to tensorboard comet_ml": (QA, "--report_to tensorboard comet_ml is refused"),
    "--report_to all": (QA, "name them; give --report_to tensorboard"),
    "--model_type xlnet": (QA, "the types bert, roberta, xlm-roberta"),
    "--task_name MRCP": (CLASSES, "cola, mnli, mrpc, qnli, qqp, rte, sst2, stsb, wnli"),
    "--task_name stsb": (CLASSES, "train/regression.py"),
    "--task_name cola": (NUMBERS, "train/classification.py"),
    "--task_name pos": (TAGS, "give --label_column_name pos_tags"),
    "--task_name mrpc --train_file a.tsv": (CLASSES, "--train_file is given too"),
    "--task_name mrpc": (QA, "the script is the task"),
    "--do_lower_case --model_name_or_path bert-base-cased": (QA, "the model is cased"),
    "--do_lower_case False --model_name_or_path bert-base-uncased": (QA, "the model is uncased"),
    "--resume_from_checkpoint old/checkpoint-500 --output_dir new": (QA, "in its own folder"),
    "--label_smoothing_factor 0.1": (QA, "give --loss label_smoothing"),
    "--label_smoothing_factor 0.2": (NUMBERS, "no classes"),
    "--label_smoothing_factor 0.3 --loss focal": (CLASSES, "--loss is given too"),
    "--loss_scale 128": (QA, "float16 finds its loss scale"),
    "--token hf_x": (QA, "HF_TOKEN"),
    "--model_revision v2": (QA, "hf download"),
    "--deepspeed c.json": (QA, "jaxbert.launch"),
    "--fsdp full_shard": (QA, "jaxbert.launch"),
    "--local_rank 0": (QA, "jaxbert.launch"),
    "--init_checkpoint bert_model.ckpt": (QA, "from_tf=True"),
    "--vocab_file vocab.txt": (QA, "give --tokenizer_name DIR"),
    "--bert_config_file c.json": (QA, "give --model_name_or_path DIR"),
    "--train_batch_size 32": (QA, "give --per_device_train_batch_size 32"),
    "--use_tpu": (QA, "JAX_PLATFORMS=tpu"),
    "--tpu_name node-1": (QA, "TPU"),
    "--max_query_length 64": (QA, "questions are cut only where"),
    "--train_ref_file r.txt": (MLM, "give --words jieba"),
    "--greater_is_better False": (QA, "the higher one is better"),
    "--greater_is_better True": (MLM, "the lower the better"),
    "--greater_is_better True --metric_for_best_model mse": (NUMBERS, "the lower one is better"),
    "--data_seed 3": (QA, "--seed"),
    "--eval_on_start": (QA, "--eval_steps"),
    "--neftune_noise_alpha 5": (QA, "no noise"),
    "--hub_token hf_x": (QA, "HF_TOKEN"),
    "--hub_strategy checkpoint": (QA, "no checkpoint"),
    "--hub_revision v2": (QA, "main branch"),
    "--push_to_hub_organization club": (QA, "give --hub_model_id ORGANIZATION/NAME"),
    "--validation_split_percentage 5": (MLM, "give --validation_file FILE"),
    "--test_file t.json": (QA, "eval/"),
    "--debug underflow_overflow": (QA, "not finite"),
    "--do_eval": (QA, "--do_eval without --do_train"),
    "--do_predict": (CLASSES, "--do_predict without --do_train"),
    "--trust_remote_code": (QA, "no code"),
    "--fp16 maybe": (QA, "not True or False"),
    "--optim_target_modules": (QA, "give its value"),
}


@pytest.mark.parametrize("line", REFUSED)
def test_refused_by_name(line: str) -> None:
    kind, part = REFUSED[line]
    message = refusal(kind, *line.split())
    assert part in message
    assert line.split()[0] in message


def test_glue_is_asked_for_by_the_names_that_its_sets_have_on_the_hub() -> None:
    for given, name in GLUE.items():
        kind = NUMBERS if name == "stsb" else CLASSES
        found = command_line.parse(kind, ["--task_name", given.upper()])
        assert (found.dataset_name, found.dataset_config_name) == ("nyu-mll/glue", name)


def test_resuming_is_from_the_newest_checkpoint_of_the_output_folder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for step in ("2", "10"):
        (run / "checkpoints" / step).mkdir(parents=True)
    (run / "options.json").write_text("{}")
    words = ["--output_dir", str(run), "--resume_from_checkpoint"]
    for place in (run, run / "checkpoints", run / "checkpoints" / "10"):
        assert command_line.parse(QA, [*words, str(place)]) == QA(output_dir=str(run))
    for place in (run / "checkpoints" / "2", run / "checkpoint-10", tmp_path):
        assert "from the newest checkpoint there" in refusal(QA, *words, str(place))
    assert "give --overwrite_output_dir" in refusal(QA, *words, "False")
    assert command_line.parse(QA, ["--output_dir", "new", "--resume_from_checkpoint", "False"])


def test_of_answers_only_refusals_and_taken_flags_have_words() -> None:
    for _, _, case in answers():
        assert isinstance(case.answer, Answer)
        assert case.answer.kind != "understood" or not case.answer.words
        assert case.answer.kind != "taken" or case.answer.words or case.answer.cpu
