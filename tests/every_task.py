"""The training options of every task, by its name."""

from __future__ import annotations

from typing import Any

from jaxbert.tasks.task_commands import TASK_COMMANDS

OPTIONS: dict[str, Any] = {name: task.training for name, task in TASK_COMMANDS.items()}
