"""The training options of every task, by its name."""

from __future__ import annotations

from typing import Any

from jaxbert.tasks.registry import TASKS

OPTIONS: dict[str, Any] = {name: task.train_options for name, task in TASKS.items()}
