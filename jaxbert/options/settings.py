"""Options: frozen dataclasses whose fields are the flags of the scripts.

Names are those of Hugging Face's run_qa and Trainer wherever they have the option, and so are the
defaults that decide the trained parameters: a migrating command keeps its meaning. How often a run
evaluates, logs and saves is our own. options.json beside a checkpoint holds them as used.
The docstring of a command's flags is what its --help begins with.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, Self

from jaxbert.options.fields import Settings, option

# The groups of --help, in this order. Each dataclass says which one its options are in.
GROUPS = (
    "model",
    "data",
    "the task and its rows",
    "training",
    "results and checkpoints",
    "calibration",
    "devices, speed and debugging",
)


@dataclasses.dataclass(frozen=True)
class DeviceOptions(Settings):
    """What it is computed on, and how fast."""

    GROUP = "devices, speed and debugging"

    parallel: Literal["auto", "pmap", "jit"] = option(
        "auto", "Several devices: auto is pmap; both give equal results."
    )
    coordinator_address: str | None = option(
        None,
        "HOST:PORT of the first of several processes; python -m jaxbert.launch gives it.",
        resume="free",
    )
    num_processes: int | None = option(
        None, "How many processes the run has.", range=(1, 65536), resume="free"
    )
    process_id: int | None = option(None, "Which of them this one is, from 0.", resume="free")
    per_device_eval_batch_size: int = option(
        32, "Rows of a prediction batch on each device.", range=(1, 65536), resume="free"
    )
    length_bucket: int = option(
        64, "Pad to multiples of this; 0 pads all to max_seq_length.", range=(0, 1e6)
    )
    compilation_cache_dir: str | None = option(
        None,
        "A private folder for compiled programs: a second start compiles hardly anything.",
        resume="free",
        path=True,
    )
    debug: bool = option(False, "Show the traceback of an error.", resume="free")


@dataclasses.dataclass(frozen=True)
class ModelOptions(DeviceOptions):
    """Which model, and how it is computed."""

    GROUP = "model"

    model_name_or_path: str | None = option(
        None,
        "A BERT folder, a Hub name, or minilm-l6 (carried by a Python package).",
        path=True,
        names_input=True,
    )
    config_name: str | None = option(
        None,
        "A config.json or its folder, to start from random weights instead.",
        resume="examples",
        path=True,
        names_input=True,
    )
    tokenizer_name: str | None = option(
        None,
        "A tokenizer's folder; by default the model's.",
        resume="examples",
        path=True,
        names_input=True,
    )
    dtype: Literal["float32", "bfloat16"] = option(
        "float32", "Type of the activations; parameters, softmax and loss are float32 always."
    )
    attention: Literal["auto", "xla", "cudnn", "pallas"] = option(
        "auto", "How attention is computed: auto takes the fastest that is exact, and says which."
    )


@dataclasses.dataclass(frozen=True)
class SourceOptions(Settings):
    """Where examples come from."""

    GROUP = "data"

    validation_file: list[str] | None = option(
        None, "One or more files to evaluate on.", resume="free", path=True, names_input=True
    )
    dataset_name: str | None = option(
        None,
        "A data set of the Hub, or a local data-set folder.",
        resume="free",
        path=True,
        names_input=True,
    )
    dataset_config_name: str | None = option(
        None, "Its configuration.", resume="free", names_input=True
    )
    validation_split: str | None = option(
        None,
        "The split of the data set to evaluate on, for instance test; by default validation.",
        resume="free",
        names_input=True,
    )
    max_eval_samples: int | None = option(
        None, "Evaluate on the first so many examples.", range=(1, 1e12), resume="examples"
    )


@dataclasses.dataclass(frozen=True)
class ReadingOptions(Settings):
    """How every task's rows are read."""

    GROUP = "data"

    strict: bool = option(
        False, "Stop at the first faulty row instead of reporting it.", resume="free"
    )


@dataclasses.dataclass(frozen=True)
class TaskOptions(ReadingOptions):
    """What the options of every task have; kept with the model for evaluation."""

    GROUP = "the task and its rows"

    max_seq_length: int = option(
        128, "The most tokens of a row.", range=(1, 1e6), resume="examples"
    )


@dataclasses.dataclass(frozen=True)
class RowOptions(TaskOptions):
    """Rows with columns, shorter than paragraphs."""

    GROUP = "the task and its rows"

    max_seq_length: int = option(
        128,
        "The most tokens of a row; the longer text of a pair is cut.",
        range=(1, 1e6),
        resume="examples",
    )
    length_bucket: int = option(
        32, "Pad to multiples of this; 0 pads all to max_seq_length.", range=(0, 1e6)
    )
    quoted_tsv: bool = option(
        False,
        'Fields of TSV files may be in quotes; else a " is text.',
        resume="examples",
        names_input=True,
    )

    def with_length(self, length: int) -> Self:
        """The same with rows of at most so many tokens."""
        return dataclasses.replace(self, max_seq_length=length)


@dataclasses.dataclass(frozen=True)
class QAOptions(TaskOptions):
    """Windows and answers of question answering; kept with the model for evaluation."""

    GROUP = "the task and its rows"

    max_seq_length: int = option(
        384, "The most tokens of a window.", range=(1, 1e6), resume="examples"
    )
    doc_stride: int = option(
        128,
        "Tokens that windows share or step by; see --stride_mode.",
        range=(0, 1e6),
        resume="examples",
    )
    stride_mode: Literal["overlap", "step"] = option(
        "overlap",
        "Meaning of --doc_stride: overlap (Hugging Face) or step (google-research/bert).",
        resume="examples",
    )
    max_answer_length: int | None = option(
        None,
        "The most tokens of an answer; by default 30, and 50 with the metric cmrc2018.",
        range=(1, 1e6),
    )
    n_best_size: int = option(20, "Entries of the n-best list.", range=(1, 1e4))
    version_2_with_negative: bool = option(
        False, "Some questions have no answer (SQuAD v2.0).", resume="examples"
    )
    null_score_diff_threshold: float = option(
        0.0,
        "The answer is empty when the null score is above the best span's by more than this.",
        range=(-1e6, 1e6),
    )
    score_temperature: float = option(
        1.0,
        "Answers' scores are divided by this for probabilities; eval/calibrate.py finds it.",
        range=(1e-3, 1e3),
    )
    metric: Literal["auto", "squad", "squad_v2", "cmrc2018"] = option(
        "auto", "auto: squad_v2 with --version_2_with_negative, cmrc2018 for Chinese, else squad."
    )

    def with_length(self, length: int) -> Self:
        """The same with windows of at most so many tokens, which share at most half of them."""
        stride = min(self.doc_stride, length // 2)
        return dataclasses.replace(self, max_seq_length=length, doc_stride=stride)


@dataclasses.dataclass(frozen=True)
class TextOptions(RowOptions):
    """Rows of texts; kept with the model for evaluation."""

    GROUP = "the task and its rows"

    text_column_name: list[str] | None = option(
        None,
        "The column of the text, or two columns for a pair; by default they are looked for.",
        resume="examples",
        names_input=True,
    )


@dataclasses.dataclass(frozen=True)
class ClassificationOptions(TextOptions):
    """Classes of texts and of pairs: one for each, or any number (multi-label)."""

    label_column_name: list[str] | None = option(
        None,
        "The column of the label or of lists of labels, or several columns of 0 and 1, one for "
        "each label; by default looked for.",
        resume="examples",
        names_input=True,
    )
    positive_label: str | None = option(
        None, "Of two classes the one that f1 is of; by default the second."
    )
    threshold: float | None = option(
        None,
        "Multi-label: a text has the labels whose score is above this; by default 0.5.",
        range=(0, 1),
    )


@dataclasses.dataclass(frozen=True)
class ClassificationSettings(ClassificationOptions):
    """The same, and how classes are learned."""

    GROUP = "training"

    class_weights: list[str] | None = option(
        None, "balanced, or NAME=WEIGHT for classes that count more or less in the loss."
    )
    problem_type: Literal["single_label_classification", "multi_label_classification"] | None = (
        option(
            None,
            "One class for a text or any number; by default as the data say, else as the model.",
        )
    )


@dataclasses.dataclass(frozen=True)
class RegressionOptions(TextOptions):
    """A number for a text or a pair."""

    label_column_name: str | None = option(
        None, "The column of the label; by default looked for.", resume="examples", names_input=True
    )


@dataclasses.dataclass(frozen=True)
class RegressionSettings(RegressionOptions):
    """The same, and how numbers are learned."""

    GROUP = "training"

    target_scaling: list[str] | None = option(
        None,
        "standard, or a mean and a scale: the model learns (target - mean) / scale. It is undone "
        "in predictions and in the saved model.",
        resume="examples",
    )


@dataclasses.dataclass(frozen=True)
class MultipleChoiceOptions(RowOptions):
    """One of several choices; kept with the model for evaluation."""

    GROUP = "the task and its rows"

    max_seq_length: int = option(
        128, "The most tokens of a choice with its context.", range=(1, 1e6), resume="examples"
    )
    label_column_name: str | None = option(
        None, "The column of the right choice.", resume="examples", names_input=True
    )


@dataclasses.dataclass(frozen=True)
class TaggingOptions(TaskOptions):
    """A label for every word; kept with the model for evaluation."""

    GROUP = "the task and its rows"

    max_seq_length: int = option(
        128, "The most tokens of a window of a sentence.", range=(1, 1e6), resume="examples"
    )
    length_bucket: int = option(
        32, "Pad to multiples of this; 0 pads all to max_seq_length.", range=(0, 1e6)
    )
    doc_stride: int | None = option(
        None,
        "Tokens that two windows of a long sentence share; by default a quarter of a window.",
        range=(0, 1e6),
        resume="examples",
    )
    text_column_name: str | None = option(
        None,
        "The column of the words: a number in CoNLL files, where the default is the first.",
        resume="examples",
        names_input=True,
    )
    label_column_name: str | None = option(
        None,
        "The column of the tags: a number in CoNLL files, where the default is the last.",
        resume="examples",
        names_input=True,
    )
    label_all_tokens: bool = option(
        False, "All sub-words of a word learn its label.", resume="examples"
    )
    entity_mode: Literal["default", "strict"] = option(
        "default", "How wrong tag sequences count, as seqeval defines it."
    )

    def with_length(self, length: int) -> Self:
        """The same with windows of at most so many tokens, which share at most half of them."""
        stride = None if self.doc_stride is None else min(self.doc_stride, length // 2)
        return dataclasses.replace(self, max_seq_length=length, doc_stride=stride)


@dataclasses.dataclass(frozen=True)
class MLMOptions(RowOptions):
    """Masked language modelling on lines of text; kept with the model for evaluation."""

    GROUP = "the task and its rows"

    max_seq_length: int = option(
        128, "The most tokens of a row.", range=(1, 1e6), resume="examples"
    )
    length_bucket: int = option(
        64, "Pad to multiples of this; 0 pads all to max_seq_length.", range=(0, 1e6)
    )
    text_column_name: str | None = option(
        None, "The column of the text, in files with columns.", resume="examples", names_input=True
    )
    line_by_line: bool = option(
        False, "A row for each line instead of packed lines.", resume="examples"
    )
    mlm_probability: float = option(
        0.15, "Part of the tokens that are to be predicted.", range=(0.001, 0.9)
    )
    whole_word_mask: bool = option(True, "All sub-words of a word are masked together.")
    words: str = option(
        "characters",
        "Words of Chinese text: characters, jieba (extra zh), or a file with a word a line.",
        resume="examples",
    )


@dataclasses.dataclass(frozen=True)
class TrainingDataOptions(Settings):
    """What a model learns from."""

    GROUP = "data"

    train_file: list[str] | None = option(
        None, "One or more files to train on.", resume="free", path=True, names_input=True
    )
    max_train_samples: int | None = option(
        None, "Train on the first so many examples.", range=(1, 1e12), resume="examples"
    )


@dataclasses.dataclass(frozen=True)
class CheckpointOptions(Settings):
    """What a run writes and when, and which of its models is the result."""

    GROUP = "results and checkpoints"

    output_dir: str | None = option(
        None,
        "Where all results go; a run that was stopped there is resumed.",
        resume="free",
        path=True,
    )
    overwrite_output_dir: bool = option(
        False,
        "Remove the run in --output_dir and start a new one.",
        resume="free",
    )
    allow_changed_options: list[str] | None = option(
        None,
        "Options that may differ from those the run in --output_dir was started with.",
        resume="free",
    )
    logging_steps: int = option(
        1, "A line of train_log.jsonl every so many steps.", range=(1, 1e9), resume="free"
    )
    eval_steps: int | None = option(
        None, "Evaluate every so many steps; by default every epoch.", range=(1, 1e9)
    )
    save_steps: int | None = option(
        None, "Save every so many steps; by default every epoch.", range=(1, 1e9), resume="free"
    )
    save_total_limit: int = option(
        2, "Newest checkpoints to keep, at least 2, beside the best.", range=(1, 1e6), resume="free"
    )
    save_errors: Literal["stop", "retry"] = option(
        "stop",
        "A checkpoint that cannot be written ends the run, or is tried again at the next.",
        resume="free",
    )
    report_to: list[str] | None = option(
        None,
        "Send curves to tensorboard (a folder in --output_dir), wandb or mlflow, or to none.",
        resume="free",
    )
    metric_for_best_model: str | None = option(None, "The score that tells the best checkpoint.")
    load_best_model_at_end: bool = option(False, "The result is the best checkpoint, not the last.")
    early_stopping_patience: int | None = option(
        None,
        "Stop when so many evaluations in a row are not better than the best.",
        range=(1, 1e9),
    )

    @property
    def comparing_models(self) -> list[str]:
        """The options given that ask which of two models is better, and so for validation data."""
        names = ("load_best_model_at_end", "early_stopping_patience", "metric_for_best_model")
        return [name for name in names if getattr(self, name)]


@dataclasses.dataclass(frozen=True)
class TrainingOptions(CheckpointOptions, TrainingDataOptions):
    """How a model learns, the same for every task."""

    GROUP = "training"

    seed: int = option(
        42, "Of the order of the data, dropout and new parameters.", range=(0, 2**32 - 1)
    )
    num_train_epochs: float = option(3.0, "Passes over the training data.", range=(0, 1e6))
    max_steps: int = option(-1, "Stop after so many steps instead, when above 0.", range=(-1, 1e9))
    per_device_train_batch_size: int = option(
        8, "Rows of a micro-batch on each device.", range=(1, 65536)
    )
    packing: bool = option(False, "Put several windows in one row: hardly any padding is computed.")
    gradient_accumulation_steps: int = option(1, "Micro-batches of a step.", range=(1, 65536))
    learning_rate: float = option(5e-5, "The highest learning rate.", range=(0, 1e3))
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = option(
        "linear", "How the learning rate falls after the warmup; constant has no warmup."
    )
    warmup_ratio: float = option(
        0.0, "Part of the steps in which the learning rate rises.", range=(0, 1)
    )
    warmup_steps: int = option(0, "The same in steps, when above 0.", range=(0, 1e9))
    weight_decay: float = option(0.0, "Of all parameters but biases and LayerNorm.", range=(0, 1e3))
    adam_beta1: float = option(0.9, "AdamW's beta 1.", range=(0, 0.999999))
    adam_beta2: float = option(0.999, "AdamW's beta 2.", range=(0, 0.99999999))
    adam_epsilon: float = option(1e-8, "AdamW's epsilon.", range=(1e-12, 1))
    max_grad_norm: float = option(
        1.0, "Gradients are clipped to this norm; 0 does not clip.", range=(0, 1e9)
    )
    max_nonfinite_steps: int = option(
        3,
        "Steps whose loss or gradient is not finite are skipped; so many in a row end the run.",
        range=(1, 1e6),
        resume="free",
    )
    freeze: list[str] | None = option(
        None,
        "Modules that stay as they are: embeddings, layer_0, layer_1, ..., bert.",
        resume="never",
        reason="what is frozen cannot be changed, since the optimizer has no state of it",
    )
    loss: str = option("cross_entropy", "Name of the loss, or FILE.py:FUNCTION.")
    loss_args: str | None = option(
        None, """Its options as JSON: '{"smoothing": 0.1}'.""", json=True
    )
    gradient_checkpointing: bool = option(
        False, "Compute activations again in the backward pass: less memory, more time."
    )
    scan_layers: bool = option(
        False, "Compile one layer and loop over it: compiling is faster, training slower."
    )


@dataclasses.dataclass(frozen=True)
class EvaluationOptions(Settings):
    """What evaluation needs beside the model, the data and the task's own options."""

    GROUP = "results and checkpoints"

    output_dir: str | None = option(
        None, "Where metrics and predictions go.", resume="free", path=True
    )


@dataclasses.dataclass(frozen=True)
class QATrainOptions(TrainingOptions, QAOptions, SourceOptions, ModelOptions):
    r"""Fine-tune BERT for extractive question answering (Devlin et al. 2019, 4.2 and 4.3).

    Without data it fine-tunes MiniLM-L6 on the built-in demo and answers three questions.
    With data:

        jaxbert train qa --model_name_or_path bert-base-uncased --train_file train-v1.1.json \
            --validation_file dev-v1.1.json --output_dir runs/squad \
            --per_device_train_batch_size 12 --learning_rate 3e-5 --num_train_epochs 2 \
            --max_seq_length 384 --doc_stride 128

    BERT-base uncased on SQuAD v1.1 with these options is published at EM/F1 81.2/88.5. The same
    command again resumes a run that was stopped.
    """


@dataclasses.dataclass(frozen=True)
class QAEvalOptions(EvaluationOptions, QAOptions, SourceOptions, ModelOptions):
    r"""Evaluate question answering: official scores, predictions, n-best lists.

        jaxbert eval qa --model_name_or_path runs/squad --validation_file dev-v1.1.json \
            --output_dir runs/squad/eval

    Windows and answer lengths are as the model was trained, unless other flags are given.
    """


@dataclasses.dataclass(frozen=True)
class CalibrateOptions(EvaluationOptions, QAOptions, SourceOptions, ModelOptions):
    """Find the threshold of no answer (SQuAD v2.0) and calibrate the confidence of answers.

        jaxbert calibrate --model_name_or_path runs/squad2 --validation_file dev-v2.0.json

    Half of the paragraphs are fitted to, the other half is reported on. `jaxbert eval qa` and
    QuestionAnswerer use what is found; --null_score_diff_threshold and --score_temperature
    override it.
    """

    GROUP = "calibration"

    fit_part: float = option(
        0.5,
        "Part of the paragraphs to fit to; scores are reported on the others only.",
        range=(0.01, 1),
    )
    seed: int = option(42, "Of the choice of the paragraphs.", range=(0, 2**32 - 1))


@dataclasses.dataclass(frozen=True)
class ClassificationTrainOptions(
    TrainingOptions, ClassificationSettings, SourceOptions, ModelOptions
):
    r"""Fine-tune BERT to classify texts or pairs of texts (Devlin et al. 2019, 4.1).

    Without data it fine-tunes MiniLM-L6 on a built-in demo of opinions. With data (CSV, TSV, JSON,
    JSONL, Parquet, or --dataset_name nyu-mll/glue --dataset_config_name mrpc):

        jaxbert train classification --model_name_or_path bert-base-cased \
            --train_file train.tsv --validation_file dev.tsv \
            --text_column_name sentence1 sentence2 --label_column_name label \
            --output_dir runs/mrpc --learning_rate 2e-5 --num_train_epochs 3 \
            --per_device_train_batch_size 32

    BERT-base cased with these options is published at 59.0 (CoLA, Matthews), 92.2 (SST-2), 83.8
    (MNLI) and 64.8 (RTE), and after 5 epochs at 89.0/84.4 (MRPC, F1 and accuracy): means of five
    runs on GLUE's development sets.
    """


@dataclasses.dataclass(frozen=True)
class ClassificationEvalOptions(
    EvaluationOptions, ClassificationOptions, SourceOptions, ModelOptions
):
    r"""Evaluate a classifier: accuracy, F1, Matthews correlation, and predictions.json.

        jaxbert eval classification --model_name_or_path runs/mrpc \
            --validation_file dev.tsv --output_dir runs/mrpc/eval

    A file without a column of labels gives predictions alone.
    """


@dataclasses.dataclass(frozen=True)
class RegressionTrainOptions(TrainingOptions, RegressionSettings, SourceOptions, ModelOptions):
    r"""Fine-tune BERT to give a number to a text or a pair of texts: STS-B.

    Without data it fine-tunes MiniLM-L6 on a built-in demo of sentence pairs. With data:

        jaxbert train regression --model_name_or_path bert-base-cased \
            --train_file train.tsv --validation_file dev.tsv \
            --text_column_name sentence1 sentence2 --label_column_name score \
            --output_dir runs/stsb --learning_rate 2e-5 --num_train_epochs 3 \
            --per_device_train_batch_size 32

    BERT-base cased with these options is published at Pearson/Spearman 88.9/88.6 on STS-B.
    """

    GROUP = "training"

    loss: str = option("mean_squared_error", "Name of the loss, or FILE.py:FUNCTION.")


@dataclasses.dataclass(frozen=True)
class RegressionEvalOptions(EvaluationOptions, RegressionOptions, SourceOptions, ModelOptions):
    r"""Evaluate a regression: Pearson, Spearman, mean squared error, predictions.json.

        jaxbert eval regression --model_name_or_path runs/stsb --validation_file dev.tsv \
            --output_dir runs/stsb/eval
    """


@dataclasses.dataclass(frozen=True)
class MultipleChoiceTrainOptions(
    TrainingOptions, MultipleChoiceOptions, SourceOptions, ModelOptions
):
    r"""Fine-tune BERT to choose the right ending or answer (Devlin et al. 2019, 4.4).

    Without data it fine-tunes MiniLM-L6 on a built-in demo. With data (SWAG's columns sent1, sent2,
    ending0 ... and label, or context, question, choices, label):

        jaxbert train multiple_choice --model_name_or_path bert-base-uncased \
            --train_file train.csv --validation_file val.csv --output_dir runs/swag \
            --learning_rate 5e-5 --num_train_epochs 3 --per_device_train_batch_size 16

    BERT-base uncased is published at 81.6 accuracy on SWAG's development set.
    """


@dataclasses.dataclass(frozen=True)
class MultipleChoiceEvalOptions(
    EvaluationOptions, MultipleChoiceOptions, SourceOptions, ModelOptions
):
    r"""Evaluate a multiple-choice model: accuracy and predictions.json.

        jaxbert eval multiple_choice --model_name_or_path runs/swag \
            --validation_file val.csv --output_dir runs/swag/eval
    """


@dataclasses.dataclass(frozen=True)
class TaggingTrainOptions(TrainingOptions, TaggingOptions, SourceOptions, ModelOptions):
    r"""Fine-tune BERT to label words: named entities, parts of speech (Devlin et al., 5.3).

    Without data it fine-tunes MiniLM-L6 on a built-in demo. With data (CoNLL columns, or rows of
    tokens and ner_tags):

        jaxbert train tagging --model_name_or_path bert-base-cased --train_file train.conll \
            --validation_file dev.conll --output_dir runs/ner --learning_rate 5e-5 \
            --num_train_epochs 3 --per_device_train_batch_size 32

    BERT-base on CoNLL-2003 is published at F1 92.4 (with the context of whole documents).
    """


@dataclasses.dataclass(frozen=True)
class TaggingEvalOptions(EvaluationOptions, TaggingOptions, SourceOptions, ModelOptions):
    r"""Evaluate a tagger: precision, recall and F1 of entities, accuracy of words.

        jaxbert eval tagging --model_name_or_path runs/ner --validation_file dev.conll \
            --output_dir runs/ner/eval

    predictions.json has the tags of every sentence.
    """


@dataclasses.dataclass(frozen=True)
class MLMTrainOptions(TrainingOptions, MLMOptions, SourceOptions, ModelOptions):
    r"""Continue BERT's pre-training on your text: masked language modelling (section 3.1).

    Without data it trains MiniLM-L6 on built-in lines. With data (a text a line, or a column of a
    table):

        jaxbert train mlm --model_name_or_path bert-base-uncased --train_file mine.txt \
            --validation_file held_out.txt --output_dir runs/mlm --num_train_epochs 3
        jaxbert train classification --model_name_or_path runs/mlm --train_file ...

    From scratch: `jaxbert vocabulary` writes a vocabulary and a config.json for --config_name.
    Chinese words are masked whole with --words jieba or --words my_words.txt.
    """


@dataclasses.dataclass(frozen=True)
class MLMEvalOptions(EvaluationOptions, MLMOptions, SourceOptions, ModelOptions):
    r"""Evaluate a masked language model: perplexity and accuracy at masked tokens.

        jaxbert eval mlm --model_name_or_path runs/mlm --validation_file held_out.txt \
            --output_dir runs/mlm/eval
    """


@dataclasses.dataclass(frozen=True)
class ScoreOptions(Settings):
    """Score a predictions file against references; prints one JSON line.

    jaxbert score --metric squad --predictions predictions.json --references dev-v1.1.json
    jaxbert score --metric tagging --predictions predictions.json --references dev.conll
    """

    metric: Literal[
        "squad",
        "squad_v2",
        "cmrc2018",
        "classification",
        "regression",
        "multiple_choice",
        "tagging",
    ] = option("squad", "The scores: official ones of a data set, or those of a task.")
    predictions: str | None = option(
        None,
        "JSON: question id to answer text, or a list in the order of the rows.",
        path=True,
    )
    references: str | None = option(None, "The data set, in any form that train/ reads.", path=True)
    null_odds: str | None = option(
        None, "For squad_v2, JSON: id to odds; finds the thresholds.", path=True
    )
    text_column_name: list[str] | None = option(
        None, "The columns of the references' texts.", resume="examples", names_input=True
    )
    label_column_name: list[str] | None = option(
        None,
        "The column of the label, or of the tags; of several labels, see train/.",
        resume="examples",
        names_input=True,
    )
    positive_label: str | None = option(
        None, "Of two classes the one that f1 is of; by default the second."
    )
    quoted_tsv: bool = option(
        False,
        'Fields of TSV files may be in quotes; else a " is text.',
        resume="examples",
        names_input=True,
    )
    entity_mode: Literal["default", "strict"] = option(
        "default", "How wrong tag sequences count, as seqeval defines it."
    )
    strict: bool = option(
        False, "Stop at the first faulty row instead of reporting it.", resume="free"
    )
    debug: bool = option(False, "Show the traceback of an error.", resume="free")
