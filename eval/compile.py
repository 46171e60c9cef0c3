"""The same as `jaxbert compile TASK` (by default qa), from a clone; --help has the flags."""

import sys

from jaxbert.cli.main import main
from jaxbert.tasks.task_commands import TASK_COMMANDS

if __name__ == "__main__":
    task = () if sys.argv[1:2] and sys.argv[1] in TASK_COMMANDS else ("qa",)
    main("compile", *task)
