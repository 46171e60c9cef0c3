"""Settings of where examples come from: the flags, and what the rest of the package is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from jaxbert.options.fields import Settings, option


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the examples of one split come from: files, else a data set.

    Attributes:
        training: whether they are to be learned from, else scored.
        dataset_name, dataset_config_name: of a data set of the Hub, or a folder.
        validation_split: its split to be scored; by default its own validation split.
        limit: the most examples to take, from the first.
        fraction: the part of these to take, drawn by `seed`.
    """

    training: bool
    files: Sequence[str] | None
    dataset_name: str | None
    dataset_config_name: str | None
    validation_split: str | None
    limit: int | None
    fraction: float = 1.0
    seed: int = 0

    @property
    def flag(self) -> str:
        """The flag that names the files."""
        return "--train_file" if self.training else "--validation_file"

    @property
    def label(self) -> str:
        """What a message calls it."""
        return ", ".join(self.files or [f"--dataset_name {self.dataset_name}"])


@dataclasses.dataclass(frozen=True)
class OwnColumns:
    """Columns of the training data that the task does not know.

    Attributes:
        extra: numbers, or lists of numbers, for the loss.
        weight: how much each row counts in the loss.
        view: another text of each row, for the loss.
    """

    extra: Sequence[str] = ()
    weight: str | None = None
    view: str | None = None


@dataclasses.dataclass(frozen=True)
class SourceOptions(Settings):
    """Where examples come from."""

    GROUP = "data"

    validation_file: list[str] | None = option(
        None, "One or more files to evaluate on.", resume="free", address=True, names_input=True
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
        None, "Evaluate on the first N examples at most.", range=(1, 1e12), resume="examples"
    )

    def validation_source(self) -> Source:
        """Where the examples to be scored come from."""
        return Source(
            training=False,
            files=self.validation_file,
            dataset_name=self.dataset_name,
            dataset_config_name=self.dataset_config_name,
            validation_split=self.validation_split,
            limit=self.max_eval_samples,
        )


@dataclasses.dataclass(frozen=True)
class ReadingOptions(Settings):
    """How every task's rows are read."""

    GROUP = "data"

    strict: bool = option(
        False, "Stop at the first faulty row instead of reporting it.", resume="free"
    )


@dataclasses.dataclass(frozen=True)
class TrainingDataOptions(SourceOptions):
    """What a model learns from."""

    GROUP = "data"

    train_file: list[str] | None = option(
        None, "One or more files to train on.", resume="free", address=True, names_input=True
    )
    max_train_samples: int | None = option(
        None, "Train on the first N examples at most.", range=(1, 1e12), resume="examples"
    )
    train_fraction: float = option(
        1.0,
        "Train on this part of the examples, drawn by --seed; a smaller part is in a larger one.",
        range=(1e-9, 1),
        resume="examples",
    )
    extra_columns: list[str] | None = option(
        None,
        "Columns of numbers, or of lists of numbers, which the loss finds in the batch.",
        resume="examples",
    )
    weight_column: str | None = option(
        None, "The column that says how much each row counts in the loss.", resume="examples"
    )
    view_column: str | None = option(
        None,
        "A column with another text of each row: view_input_ids and so on in the batch.",
        resume="examples",
        needs=("long_texts", "truncate"),  # both texts of a row are one window
    )

    def own_columns(self) -> OwnColumns:
        """The columns that the task does not know."""
        return OwnColumns(self.extra_columns or (), self.weight_column, self.view_column)

    def training_source(self) -> Source:
        """Where the examples to be learned from come from."""
        return Source(
            training=True,
            files=self.train_file,
            dataset_name=self.dataset_name,
            dataset_config_name=self.dataset_config_name,
            validation_split=None,
            limit=self.max_train_samples,
            fraction=self.train_fraction,
        )
