"""What to do about options that may not differ when a run is resumed."""

from __future__ import annotations

from collections.abc import Sequence

from jaxbert.options.fields import ChangedOption


def advice_on(changed: Sequence[ChangedOption], folder: str) -> str:
    """What to do about options that differ from those of the run in the folder.

    Only such as can be allowed are advised to be.
    """
    for option in changed:
        if option.never_changes:
            return (
                f"{option.facts.reason}; give the former --{option.name} to resume, or train on "
                "from the model of this run in another folder: "
                f"--model_name_or_path {folder} --output_dir OTHER"
            )
    if examples := [f"--{o.name}" for o in changed if o.facts.resume == "examples"]:
        return (
            f"a run keeps its examples, which depend on {' '.join(examples)}; give the former to "
            "resume, or another --output_dir, or --overwrite_output_dir"
        )
    return (
        f"give --allow_changed_options {' '.join(option.name for option in changed)} to resume "
        "with the new ones, or --overwrite_output_dir"
    )
