"""Upload a fine-tuned folder to the Hugging Face Hub: the model, its tokenizer, card and scores.

jaxbert push runs/squad USER/NAME

The card, README.md, has the data, the options and the scores of the run; a README.md of your own is
uploaded as it is. Checkpoints, the log and options.json stay here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from jaxbert.cli import command_line
from jaxbert.errors import InputError
from jaxbert.io.untrusted import read_object
from jaxbert.metrics.scores import Scores
from jaxbert.model.folders import explain_no_model
from jaxbert.options.fields import Settings, option
from jaxbert.runs.record import RunRecord
from jaxbert.runs.run_files import METRICS
from jaxbert.runs.saved import card_of
from jaxbert.sharing.card import CARD, write_card
from jaxbert.sharing.hub import Repository


@dataclasses.dataclass(frozen=True)
class PushOptions(Settings):
    """Flags of the command."""

    model_name_or_path: str | None = option(
        None, "The folder of a run; the first word of the command is it too.", path=True
    )
    hub_model_id: str | None = option(
        None, "USER/NAME of the model on the Hub; the second word of the command is it too."
    )
    hub_private_repo: bool = option(False, "A repository that is made for it is private.")
    debug: bool = option(False, "Show the traceback of an error.")


def run(words: Sequence[str]) -> None:
    """Check, write a card where there is none, upload, and print the address."""
    words = command_line.named_words(words, ("model_name_or_path", "hub_model_id"))
    options = command_line.parse(PushOptions, words, prog="jaxbert push", description=__doc__)
    if not options.model_name_or_path or not options.hub_model_id:
        raise InputError("give the folder and its name on the Hub: jaxbert push FOLDER USER/NAME")
    folder = Path(options.model_name_or_path).expanduser()
    check_has_model(folder)
    repository = Repository.open(
        options.hub_model_id, "", private=options.hub_private_repo, flag="jaxbert push"
    )
    record = RunRecord.read(folder)
    if record is not None and not (folder / CARD).exists():  # of an earlier version
        name = repository.name.partition("/")[2]
        write_card(folder, card_of(name, record, _scores(folder / METRICS)))
    print(repository.push(folder))


def check_has_model(folder: Path) -> None:
    """Refuse a folder without the model of a finished run.

    Raises:
        InputError: it has none; the message says what it has instead, if that is known.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            why = explain_no_model(folder) or f"there is no {name}"
            raise InputError(f"{folder}: {why}")


def _scores(path: Path) -> Scores:
    """What metrics.json has; nothing where it is not there."""
    if not path.exists():
        return {}
    raw = read_object(path)
    return {n: x for n, x in raw.items() if isinstance(x, int | float | str)}
