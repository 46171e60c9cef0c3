"""Settings of each task: its own, kept with the model, and the flags of its two commands.

The docstring of a command's flags is what its --help begins with.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, Self

from jaxbert.errors import InputError
from jaxbert.options.fields import option
from jaxbert.options.settings import EvaluationOptions, TrainingOptions
from jaxbert.options.source_settings import ReadingOptions


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
        """These settings for rows of at most `length` tokens."""
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
        """These settings for windows of at most `length` tokens, sharing at most half of them."""
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
    long_texts: Literal["truncate", "windows"] = option(
        "truncate",
        "A text of more than max_seq_length tokens is cut, or is read in windows that overlap.",
        resume="examples",
    )
    doc_stride: int | None = option(
        None,
        "Tokens that two windows of a text share; by default a quarter of a window.",
        range=(0, 1e6),
        resume="examples",
        needs=("long_texts", "windows"),
    )
    window_pooling: Literal["mean", "max", "attention"] = option(
        "mean",
        "How the outputs of a text's windows become those of the text; attention learns how much "
        "each counts.",
        resume="never",
        reason="attention has parameters of its own",
        lasting="attention",
        needs=("long_texts", "windows"),
    )

    @property
    def weighs_windows(self) -> bool:
        """Whether how much each window of a text counts is learned."""
        return self.long_texts == "windows" and self.window_pooling == "attention"

    def with_length(self, length: int) -> Self:
        """These settings for rows of at most `length` tokens; windows share less than a half."""
        stride = self.doc_stride
        if stride is not None:
            stride = max(0, min(stride, (length - 3) // 2))
        return dataclasses.replace(self, max_seq_length=length, doc_stride=stride)


@dataclasses.dataclass(frozen=True)
class LearnedTextOptions(TextOptions):
    """The same, and how it is learned."""

    GROUP = "training"

    windows_per_row: int = option(
        8,
        "The most windows of a text that a step weighs against each other; a text with more is "
        "divided among rows.",
        range=(2, 64),
        resume="examples",
        needs=("window_pooling", "attention"),
    )

    @property
    def windows_in_row(self) -> int:
        """The most windows of a text that are learned as one row."""
        return self.windows_per_row if self.weighs_windows else 1


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
class ClassificationSettings(ClassificationOptions, LearnedTextOptions):
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
class RegressionSettings(RegressionOptions, LearnedTextOptions):
    """The same, and how numbers are learned."""

    GROUP = "training"

    target_scaling: list[str] | None = option(
        None,
        "standard, or a mean and a scale: the model learns (target - mean) / scale. It is undone "
        "in predictions and in the saved model.",
        resume="examples",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.mean_and_scale()

    @property
    def measures_targets(self) -> bool:
        """Whether mean and scale are to be those of the targets, which are not known yet."""
        return self.target_scaling == ["standard"]

    def mean_and_scale(self) -> tuple[float, float]:
        """Of the targets; 0 and 1 where none are given, or while they are not known yet.

        Raises:
            InputError: target_scaling is neither "standard" nor two numbers, the second above 0.
        """
        if not self.target_scaling or self.measures_targets:
            return 0.0, 1.0
        try:
            mean, scale = map(float, self.target_scaling)
        except ValueError:
            mean = scale = math.nan
        if not math.isfinite(mean) or not 0 < scale < math.inf:
            raise InputError(
                f"--target_scaling {' '.join(self.target_scaling)}: give standard, or a mean and a "
                "scale above 0"
            )
        return mean, scale


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
    document_context: bool = option(
        False,
        "Read each sentence with as much of its document on both sides as fits in max_seq_length.",
        resume="examples",
    )
    document_column_name: str | None = option(
        None,
        "The column that says which document a row is of; CoNLL has -DOCSTART- lines instead.",
        resume="examples",
        names_input=True,
        needs=("document_context", True),
    )
    label_all_tokens: bool = option(
        False, "All sub-words of a word learn its label.", resume="examples"
    )
    entity_mode: Literal["default", "strict"] = option(
        "default", "How wrong tag sequences count, as seqeval defines it."
    )

    def with_length(self, length: int) -> Self:
        """These settings for windows of at most `length` tokens, sharing at most half of them."""
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
    streaming: bool = option(
        False, "Read --dataset_name as a stream, without a download.", resume="free"
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
class QATrainOptions(QAOptions, TrainingOptions):
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
class QAEvalOptions(QAOptions, EvaluationOptions):
    r"""Evaluate question answering: official scores, predictions, n-best lists.

        jaxbert eval qa --model_name_or_path runs/squad --validation_file dev-v1.1.json \
            --output_dir runs/squad/eval

    Windows and answer lengths are as the model was trained, unless other flags are given.
    """


@dataclasses.dataclass(frozen=True)
class ClassificationTrainOptions(ClassificationSettings, TrainingOptions):
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
class ClassificationEvalOptions(ClassificationOptions, EvaluationOptions):
    r"""Evaluate a classifier: accuracy, F1, Matthews correlation, and predictions.json.

        jaxbert eval classification --model_name_or_path runs/mrpc \
            --validation_file dev.tsv --output_dir runs/mrpc/eval

    A file without a column of labels gives predictions alone.
    """


@dataclasses.dataclass(frozen=True)
class RegressionTrainOptions(RegressionSettings, TrainingOptions):
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

    loss: str = option(
        "mean_squared_error",
        "Name of the loss, or FILE.py:FUNCTION; or several with their weights: a:1.0 b:0.5.",
        joined=True,
    )


@dataclasses.dataclass(frozen=True)
class RegressionEvalOptions(RegressionOptions, EvaluationOptions):
    r"""Evaluate a regression: Pearson, Spearman, mean squared error, predictions.json.

        jaxbert eval regression --model_name_or_path runs/stsb --validation_file dev.tsv \
            --output_dir runs/stsb/eval
    """


@dataclasses.dataclass(frozen=True)
class MultipleChoiceTrainOptions(MultipleChoiceOptions, TrainingOptions):
    r"""Fine-tune BERT to choose the right ending or answer (Devlin et al. 2019, 4.4).

    Without data it fine-tunes MiniLM-L6 on a built-in demo. With data (SWAG's columns sent1, sent2,
    ending0 ... and label, or context, question, choices, label):

        jaxbert train multiple_choice --model_name_or_path bert-base-uncased \
            --train_file train.csv --validation_file val.csv --output_dir runs/swag \
            --learning_rate 5e-5 --num_train_epochs 3 --per_device_train_batch_size 16

    BERT-base uncased is published at 81.6 accuracy on SWAG's development set.
    """


@dataclasses.dataclass(frozen=True)
class MultipleChoiceEvalOptions(MultipleChoiceOptions, EvaluationOptions):
    r"""Evaluate a multiple-choice model: accuracy and predictions.json.

        jaxbert eval multiple_choice --model_name_or_path runs/swag \
            --validation_file val.csv --output_dir runs/swag/eval
    """


@dataclasses.dataclass(frozen=True)
class TaggingTrainOptions(TaggingOptions, TrainingOptions):
    r"""Fine-tune BERT to label words: named entities, parts of speech (Devlin et al., 5.3).

    Without data it fine-tunes MiniLM-L6 on a built-in demo. With data (CoNLL columns, or rows of
    tokens and ner_tags):

        jaxbert train tagging --model_name_or_path bert-base-cased --train_file train.conll \
            --validation_file dev.conll --output_dir runs/ner --learning_rate 5e-5 \
            --num_train_epochs 3 --per_device_train_batch_size 32

    BERT-base on CoNLL-2003 is published at F1 92.4 (with the context of whole documents).
    """


@dataclasses.dataclass(frozen=True)
class TaggingEvalOptions(TaggingOptions, EvaluationOptions):
    r"""Evaluate a tagger: precision, recall and F1 of entities, accuracy of words.

        jaxbert eval tagging --model_name_or_path runs/ner --validation_file dev.conll \
            --output_dir runs/ner/eval

    predictions.json has the tags of every sentence.
    """


@dataclasses.dataclass(frozen=True)
class MLMTrainOptions(MLMOptions, TrainingOptions):
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
class MLMEvalOptions(MLMOptions, EvaluationOptions):
    r"""Evaluate a masked language model: perplexity and accuracy at masked tokens.

        jaxbert eval mlm --model_name_or_path runs/mlm --validation_file held_out.txt \
            --output_dir runs/mlm/eval
    """
