"""Write a fine-tuned model as a program that runs with JAX alone, without jaxbert.

jaxbert export runs/squad --to stablehlo --output_dir exported
jaxbert export runs/squad --to stablehlo --platforms cuda --output_dir exported

One program is for any number of rows and tokens, and for all platforms that are named; none of them
need be here. The README.md that is written says how to call it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from jaxbert.cli import command_line
from jaxbert.cli.push_command import check_has_model
from jaxbert.errors import InputError
from jaxbert.model.config import load_architecture, load_config
from jaxbert.model.pretrained import load_pretrained
from jaxbert.options.fields import Settings, option
from jaxbert.runs.place import check_writable
from jaxbert.runs.record import RunRecord
from jaxbert.sharing.stablehlo import PLATFORMS, save_exported
from jaxbert.tasks.registry import TASKS


@dataclasses.dataclass(frozen=True)
class ExportOptions(Settings):
    """Flags of the command."""

    model_name_or_path: str | None = option(
        None, "The folder of a run; the first word of the command is it too.", path=True
    )
    to: Literal["stablehlo"] = option("stablehlo", "The form of the program.")
    platforms: list[Literal["cpu", "cuda", "tpu"]] | None = option(
        None, "What it is to run on; by default all of them."
    )
    output_dir: str | None = option(None, "A new folder for it.", path=True)
    debug: bool = option(False, "Show the traceback of an error.")


def run(words: Sequence[str]) -> None:
    """Export, and print what was written."""
    words = command_line.named_words(words, ("model_name_or_path",))
    options = command_line.parse(ExportOptions, words, prog="jaxbert export", description=__doc__)
    if not options.model_name_or_path or not options.output_dir:
        raise InputError("give the folder and a new one: jaxbert export FOLDER --output_dir NEW")
    folder, output = Path(options.model_name_or_path).expanduser(), Path(options.output_dir)
    check_has_model(folder)
    check_writable(output)
    head = _head_of(folder)
    cfg, params = load_pretrained(folder, head, draw_head=False)
    platforms = options.platforms or PLATFORMS
    exported = save_exported(output.expanduser(), cfg, head, params, folder, platforms)
    for path in sorted(output.expanduser().iterdir()):
        print(f"{path}  {path.stat().st_size:,} bytes")
    print(f"for {', '.join(exported.platforms)}; {output}/README.md says how to call it")


def _head_of(folder: Path) -> str:
    """The head of the model in a folder: that of the run's task, else by its class.

    Raises:
        InputError: neither is known.
    """
    record = RunRecord.read(folder)
    if record is not None and record.task in TASKS:
        return TASKS[record.task].head
    named = load_architecture(folder)
    for head, architecture in load_config(folder).family.classes.items():
        if architecture == named:
            return head
    raise InputError(f"{folder}: config.json names no class of a head that is known here")
