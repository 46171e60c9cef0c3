r"""Compare losses over seeds: every pair is trained, resumable, and a table says what differs.

    python train/compare.py qa --losses cross_entropy joint_span 'focal{"gamma": 1}' my.py:my_loss \
        --seeds 0 1 2 --model_name_or_path bert-base-uncased --train_file train-v1.1.json \
        --validation_file dev-v1.1.json --output_dir runs/losses ...

The first word is the task: qa, classification, regression, tagging, multiple_choice, mlm. All other
flags are those of train/ for that task. Options of a loss are JSON behind its name.
"""

import argparse
import sys

from jaxbert.cli import command_line
from jaxbert.cli.commands import check_training_data
from jaxbert.errors import InputError
from jaxbert.runs.compare import compare
from jaxbert.runtime.processes import EXIT_STOPPED
from jaxbert.tasks.registry import TASKS


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise InputError(f"{message}; --help says more")


def main() -> int:
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    if words[0] not in TASKS:
        raise InputError(f"{words[0]}: give a task first: {', '.join(TASKS)}")
    task = TASKS[words[0]]
    kind = task.train_options
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--losses", nargs="+", required=True, metavar="LOSS")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    if {"-h", "--help"} & set(words):
        listed = {"metric_for_best_model": task.metric_names()}
        epilog = f"The losses of this task: {', '.join(task.losses)}."
        command_line.parse(kind, ["--help"], description=__doc__, epilog=epilog, listed=listed)
    own, rest = parser.parse_known_args(words[1:])
    for word in rest:
        if word.split("=")[0] in ("--loss", "--loss_args", "--seed"):
            raise InputError(f"{word}: give --losses and --seeds")
    options = command_line.parse(kind, rest, description=__doc__)
    check_training_data(options)
    return 0 if compare(task, options, own.losses, own.seeds) else EXIT_STOPPED


if __name__ == "__main__":
    command_line.main(main)
