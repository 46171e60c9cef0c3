"""The model card: README.md of a trained model, with the metadata that the Hub shows scores by.

Of the user's files it has names, never the paths on this machine.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jaxbert.io.bucket import is_address
from jaxbert.io.files import Json, write_text
from jaxbert.metrics.scores import Scores, shown_score
from jaxbert.model.families import FAMILIES
from jaxbert.options.fields import AUTO, Setting, settings_of
from jaxbert.options.settings import EvaluationOptions, TrainingOptions
from jaxbert.options.together_settings import SHARED
from jaxbert.tasks.registry import AnyTask
from jaxbert.tasks.task_commands import TASK_COMMANDS

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

CARD = "README.md"

# The last line of a card: it is jaxbert's for as long as the text above is the one that it wrote.
_MARK = re.compile(r"\n<!-- written by jaxbert ([0-9a-f]{64}); [^\n]* -->\n\Z")
# What may be a name of the Hub, and no path.
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_MAY_BE_OF_THE_HUB = ("dataset_name", "model_name_or_path", "config_name", "tokenizer_name")
_MODEL = ("model_name_or_path", "config_name", "tokenizer_name")


class Part(NamedTuple):
    """The place of a task in a run of several.

    Attributes:
        name: its own in the run.
        tasks: as --tasks has them.
    """

    name: str
    tasks: Sequence[str]

    def command(self) -> str:
        """Of the run, as far as it is of no single task."""
        return f"jaxbert train together \\\n    --tasks {shlex.join(self.tasks)}"

    def sentence(self) -> str:
        """What the card says of it."""
        return (
            f"Its encoder learned several tasks in turns, by shares: {', '.join(self.tasks)}. "
            f"This is the model of {self.name}, and the command below has the options of this task "
            "and of the run; the other tasks had data and options of their own."
        )


def make_card(
    name: str,
    task: type[AnyTask],
    used: Mapping[str, Json],
    scores: Scores,
    versions: Mapping[str, Json],
    functions: Sequence[str] = (),
    part: Part | None = None,
) -> str:
    """The text of the card.

    Args:
        name: of the model.
        used: the options of the training, as options.json has them.
        scores: of the saved model on the validation data; empty without them.
        versions: of the packages that it was trained with.
        functions: what the training took from a Python program, in words.
        part: where several tasks were trained together, which one of them this model has.
    """
    from huggingface_hub import ModelCardData  # slow to import

    name = name or "model"
    numbers = {n: x for n, x in scores.items() if not isinstance(x, str) and math.isfinite(x)}
    base, data_set = (_hub_name(used.get(key)) for key in ("model_name_or_path", "dataset_name"))
    results = _results(task, used, numbers)
    metadata = ModelCardData(
        base_model=base,
        datasets=[data_set] if data_set else None,
        eval_results=results or None,
        library_name="transformers",
        metrics=[r.metric_type for r in results] or None,
        model_name=name if results else None,
        pipeline_tag=task.pipeline_tag,
        tags=["jaxbert", "bert"],
    )
    flags = TASK_COMMANDS[task.name]
    begin = f"jaxbert train {task.name}" if part is None else part.command()
    training = _command(flags.training, used, begin, of_task="" if part is None else part.name)
    parts = [
        f"# {_plain(name)}",
        f"BERT for {(task.pipeline_tag or task.name).replace('-', ' ')}, fine-tuned with jaxbert.",
        "## Data and training",
        *_sources(used),
        *([] if part is None else [part.sentence()]),
        "Options that are not named here have their defaults:",
        f"```sh\n{training} \\\n    --output_dir OUT\n```",
        *(f"A Python program gave {what}, which is not in this line." for what in functions),
        "Trained with " + ", ".join(f"{n} {v}" for n, v in versions.items()) + ".",
        "## Scores",
        *_scores(task, flags.evaluation, used, scores, numbers),
        "## Use",
        _usage(task),
        "## Limits",
        *_limits(used, numbers),
    ]
    text = f"---\n{metadata.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n"
    advice = "change the text above and it stays as you have it"
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{text}\n<!-- written by jaxbert {digest}; {advice} -->\n"


def is_ours(path: Path) -> bool:
    """Whether a file is a card of jaxbert that nobody has changed since."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    mark = _MARK.search(text)
    if mark is None:
        return False
    return hashlib.sha256(text[: mark.start()].encode()).hexdigest() == mark[1]


def write_card(folder: Path, text: str) -> bool:
    """Write README.md, unless there is one of the user's; whether it was written."""
    path = folder / CARD
    if (path.exists() or path.is_symlink()) and not is_ours(path):
        return False
    write_text(path, text)
    return True


def _hub_name(given: Json) -> str | None:
    """What was given, where it is the name of a model or a data set of the Hub."""
    if not isinstance(given, str) or not _HUB_NAME.fullmatch(given) or given == "minilm-l6":
        return None
    return None if Path(given).exists() or is_address(given) else given


def _plain(text: str) -> str:
    """Text of the user's in Markdown: in one line, and without what would end code or a cell."""
    return re.sub(r"[`|<>]", "'", " ".join(text.split()))


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2] or path


def _public(setting: Setting, value: Json) -> Json:
    """A value without the paths of this machine: of a path the last part."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_public(setting, each) for each in value]
    if not isinstance(value, str):
        return value
    if setting.facts.json:
        try:
            raw = json.loads(value)
        except ValueError:
            return value
        return json.dumps({n: _last(x) if isinstance(x, str) else x for n, x in raw.items()})
    if setting.name in _MAY_BE_OF_THE_HUB:
        return _hub_name(value) or _last(value)
    return _last(value) if setting.facts.path or ".py:" in value else value


def _command(
    flags: type[TrainingOptions] | type[EvaluationOptions],
    used: Mapping[str, Json],
    begin: str,
    without: Sequence[str] = (),
    of_task: str = "",
) -> str:
    """The command line of what was used, as far as it decides the results.

    Args:
        without: settings to leave out.
        of_task: what stands before the names of a task's own settings, where there are several.
    """
    words = [begin]
    for setting in settings_of(flags):
        value = setting.plain(used.get(setting.name, setting.default))
        facts = setting.facts
        decides = facts.names_input or facts.resume != "free"
        if not decides or setting.name in without or value == setting.default or value is None:
            continue
        shown = _public(setting, used[setting.name])
        flag = f"--{setting.name}"
        if of_task and setting.name not in SHARED:
            flag = f"--{of_task}.{setting.name}"
        if facts.auto and shown == AUTO:
            shown = "auto"
        if shown is True:
            words.append(flag)
            continue
        values = shown if isinstance(shown, list) else [shown]
        words.append(" ".join([flag, *(shlex.quote(str(x).replace("`", "'")) for x in values)]))
    return " \\\n    ".join(words)


def _names_of(used: Mapping[str, Json], key: str) -> str | None:
    """The names of the files of an option, or of the data set."""
    files = used.get(key)
    if isinstance(files, str):
        files = [files]
    if isinstance(files, Sequence) and files:
        return ", ".join(_plain(_last(str(file))) for file in files)
    data_set = used.get("dataset_name")
    if not isinstance(data_set, str):
        return None
    config = used.get("dataset_config_name")
    return _plain(_hub_name(data_set) or _last(data_set)) + (f" ({config})" if config else "")


def _sources(used: Mapping[str, Json]) -> list[str]:
    """Which model it began as, and what it learned from, in sentences."""
    given = used.get("model_name_or_path")
    started = "random weights"
    if isinstance(given, str):
        started = f"`{_plain(_hub_name(given) or _last(given))}`"
    data = _names_of(used, "train_file")
    learned = f"`{data}`" if data else "rows of a Python program"
    limit = used.get("max_train_samples")
    first = f", the first {limit} examples," if limit else ""
    return [f"It began as {started}, and learned from {learned}{first}."]


def _results(
    task: type[AnyTask], used: Mapping[str, Json], numbers: Mapping[str, float | str]
) -> list[EvalResult]:
    """The scores that tell models of the task apart, as the Hub's metadata has them."""
    from huggingface_hub import EvalResult

    files = used.get("validation_file")
    of_hub = None if files else _hub_name(used.get("dataset_name"))
    data = _names_of(used, "validation_file") or "rows of a Python program"
    config, split = used.get("dataset_config_name"), used.get("validation_split") or "validation"
    return [
        EvalResult(
            task_type=task.pipeline_tag or task.name,
            dataset_type=of_hub or data,
            dataset_name=data,
            dataset_config=str(config) if of_hub and config else None,
            dataset_split=str(split) if of_hub else None,
            metric_type=metric.name,
            metric_name=metric.name,
            metric_value=numbers[metric.name],
        )
        for metric in task.metrics
        if metric.name in numbers
    ]


def _scores(
    task: type[AnyTask],
    flags: type[EvaluationOptions],
    used: Mapping[str, Json],
    scores: Scores,
    numbers: Mapping[str, float | str],
) -> list[str]:
    """The table of all scores, and the command that computes them."""
    if not numbers:
        return ["None: the training had no validation data with labels."]
    rows = [f"| {_plain(n)} | {shown_score(x)} |" for n, x in numbers.items()]
    rows += [f"| {_plain(n)} | {_plain(x)} |" for n, x in scores.items() if isinstance(x, str)]
    data = _names_of(used, "validation_file")
    if data is None:
        where = "Of validation rows of a Python program, which no command has."
        return [where, "\n".join(["| score | |", "|---|---|", *rows])]
    begin = f"jaxbert eval {task.name} --model_name_or_path ."
    command = _command(flags, used, begin, without=_MODEL)
    limit = used.get("max_eval_samples")
    first = f", the first {limit} examples" if limit else ""
    return [
        f"Of `{data}`{first}:",
        "\n".join(["| score | |", "|---|---|", *rows]),
        "In this folder, beside the data:",
        f"```sh\n{command} \\\n    --output_dir scores\n```",
    ]


def _usage(task: type[AnyTask]) -> str:
    """How to open it, with transformers and with jaxbert."""
    architecture = FAMILIES["bert"].classes[task.head].replace("Bert", "AutoModel", 1)
    return (
        "```python\n"
        f"from transformers import AutoTokenizer, {architecture}\n\n"
        f'model = {architecture}.from_pretrained("FOLDER_OR_NAME")\n'
        'tokenizer = AutoTokenizer.from_pretrained("FOLDER_OR_NAME")\n'
        "```"
    )


def _limits(used: Mapping[str, Json], numbers: Mapping[str, float | str]) -> list[str]:
    """What is known to limit it, and what nobody has said."""
    lines = []
    if length := used.get("max_seq_length"):
        lines.append(f"- It was trained on at most {length} tokens at a time.")
    if used.get("long_texts") == "windows":
        learned = used.get("window_pooling") == "attention"
        how = "; how much each counts is learned" if learned else ""
        lines.append(
            f"- It has read longer texts in windows, whose outputs are pooled{how}. jaxbert does "
            "so when it opens this folder; transformers' pipeline does not."
        )
    if used.get("document_context") is True:
        lines.append(
            "- It has read each sentence with what stands around it in its document. jaxbert's "
            "Tagger does so with the sentences of a list; transformers' pipeline reads each alone."
        )
    if numbers:
        lines.append(
            "- The scores are of the data above; for other texts, and for another language than "
            "that of the training data, they say nothing."
        )
    else:
        lines.append("- Nobody has measured it: there are no scores.")
    lines.append("- What is wrong or one-sided in its training data, it may have learned.")
    lines.append(
        "- No licence is named here: those of the model it began as, and of the data, decide. "
        "Whoever publishes it adds `license:` above."
    )
    return ["\n".join(lines)]
