"""What may differ when a run is resumed, and what to do where it may not."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from jaxbert.io.files import Json
from jaxbert.options.fields import Facts, Value, settings_of
from jaxbert.options.settings import CheckpointOptions


@dataclasses.dataclass(frozen=True)
class ChangedOption:
    """An option that a run was started with, and the value that it would go on with."""

    name: str
    before: Json
    now: Value
    facts: Facts

    def __str__(self) -> str:
        return f"--{self.name}: {self.before} -> {self.now}"


def changed_options(saved: Mapping[str, Json], options: CheckpointOptions) -> list[ChangedOption]:
    """The options that differ from the saved ones, of those that change what the run computes."""
    allowed: Collection[str] = options.allow_changed_options or ()
    changed = []
    for setting in settings_of(type(options)):
        # An option that is younger than the run had its default.
        before = saved.get(setting.name, setting.default)
        now = getattr(options, setting.name)
        free = setting.facts.resume == "free"
        free |= setting.name in allowed and setting.facts.resume != "never"
        if setting.plain(before) != now and not free:
            changed.append(ChangedOption(setting.name, before, now, setting.facts))
    return sorted(changed, key=lambda option: option.name)


def advice_on(changed: Sequence[ChangedOption], folder: Path) -> str:
    """What to do about options that differ from those of the run in the folder.

    Only such as can be allowed are advised to be.
    """
    for option in changed:
        if option.facts.resume == "never":
            return (
                f"{option.facts.reason}; give the former --{option.name} to go on, or train on "
                "from the model of this run in another folder: "
                f"--model_name_or_path {folder} --output_dir OTHER"
            )
    if examples := [f"--{o.name}" for o in changed if o.facts.resume == "examples"]:
        return (
            f"a run keeps its examples, which depend on {' '.join(examples)}; give the former to "
            "go on, or another --output_dir, or --overwrite_output_dir"
        )
    return (
        f"give --allow_changed_options {' '.join(option.name for option in changed)} to go on "
        "with the new ones, or --overwrite_output_dir"
    )
