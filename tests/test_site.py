"""The README and the pages of docs/: links, flags and code; and that the site is built of them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import jax
import page_code
import pytest
from conftest import REPOSITORY

from jaxbert.cli import completion
from jaxbert.cli.compile_command import CompileOptions
from jaxbert.cli.flags import flags_of
from jaxbert.cli.foreign_flags import FOREIGN
from jaxbert.cli.main import COMMANDS
from jaxbert.options.together_settings import TogetherOptions
from jaxbert.runs.asked_tasks import named_tasks, own_options
from jaxbert.runtime.launcher import make_parser as make_launcher
from jaxbert.tasks.task_commands import TASK_COMMANDS
from jaxbert.training.parallel import make_parallel

README = REPOSITORY / "README.md"
DOCS = REPOSITORY / "docs"
PAGES = [README, REPOSITORY / "BENCHMARKS.md", *sorted(DOCS.rglob("*.md"))]
NAMES = [str(path.relative_to(REPOSITORY)) for path in PAGES]

_LINK = re.compile(r"\]\(([^)\s]+)\)")
# jaxbert train qa ..., python train/qa.py ..., python eval/calibrate.py ...
_COMMAND = re.compile(r"(?:(?<!cd )jaxbert |(?:python3? |-- |srun python )(?=train/|eval/))(.*)")
ANYWHERE = {"--help", "--version", "--print-completion"}
_FLAGS = re.compile(r"(?<![\w-])--([A-Za-z_][\w-]*(?:\.\w+)?)")


def anchors(page: str) -> set[str]:
    """Of the headings, as GitHub and MyST make them."""
    outside = page_code.FENCE.sub("", page)
    titles = re.findall(r"^#+ (.+)$", outside, re.MULTILINE)
    plain = (re.sub(r"[`*]|\]\([^)]*\)|\[", "", title).lower() for title in titles)
    return {re.sub(r"[^\w\- ]", "", title).strip().replace(" ", "-") for title in plain}


def test_the_readme_is_one_page() -> None:
    assert README.read_text(encoding="utf-8").count("\n") <= 180


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_links_inside_lead_somewhere(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    for link in _LINK.findall(page_code.FENCE.sub("", page)):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        file = path.parent / target if target else path
        assert file.exists(), link
        if anchor:
            text = file.read_text(encoding="utf-8")
            if include := re.match(r"```\{include\} (\S+)", text):
                text = (file.parent / include[1]).read_text(encoding="utf-8")
            assert anchor in anchors(text), link


def known_flags(words: list[str]) -> set[str]:
    """The flags of a command of jaxbert, and those of other scripts that it takes."""
    name, *rest = words
    if name in completion.FLAGS:
        return set(flags_of(completion.FLAGS[name]))
    if name == "launch":
        parts = " ".join(rest).split(" -- ")
        own = {flag for action in make_launcher()._actions for flag in action.option_strings}
        inner = parts[1].split() if len(parts) > 1 else []
        return own | (known_flags(inner) if inner[:1] == ["train"] else set())
    if not rest or rest[0].startswith("-"):
        return set()
    if rest[0] == "together":
        tasks = re.findall(r"--tasks ((?:[^- ]\S* )+)", " ".join(rest) + " ")
        named = named_tasks(tasks[0].split()) if tasks else {}
        own = {f"--{n}.{o}" for n, task in named.items() for o in own_options(task.options_cls)}
        return own | set(flags_of(TogetherOptions)) | {f"--{name}" for name in FOREIGN}
    about = TASK_COMMANDS[rest[0]]
    own = set(flags_of(about.evaluation if name == "eval" else about.training))
    own |= {f"--{name}" for name in FOREIGN}
    own |= {"--losses", "--seeds", "--train_fractions"} if name == "compare" else set()
    own |= {"--search", "--trials"} if name == "search" else set()
    return own | set(flags_of(CompileOptions) if name == "compile" else ())


def commands(text: str) -> list[list[str]]:
    """The words of each command of jaxbert in a block of a shell."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        if match := _COMMAND.search(line):
            words = match[1].partition("  #")[0].split()
            first = re.fullmatch(r"(train|eval)/(\w+)\.py", words[0]) if words else None
            if first:
                tasks = first[2] in TASK_COMMANDS
                words = [*([first[1], first[2]] if tasks else [first[2]]), *words[1:]]
            found.append(words)
    return found


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_commands_and_their_flags_exist(path: Path) -> None:
    for block in page_code.blocks(path.read_text(encoding="utf-8")):
        if block.kind not in ("sh", "bash"):
            continue
        for words in commands(block.text):
            assert words[0].startswith("-") or words[0] in COMMANDS, (block.line, words)
            given = {f"--{name}" for name in _FLAGS.findall(" ".join(words))}
            unknown = given - ANYWHERE - known_flags(words)
            assert words[0].startswith("-") or not unknown, (block.line, unknown)


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_python_on_pages_parses(path: Path) -> None:
    for block in page_code.blocks(path.read_text(encoding="utf-8")):
        if block.kind == "python":
            ast.parse(block.text, f"{path.name}:{block.line}")


def test_messages_that_are_explained_are_messages() -> None:
    """Headings of troubleshooting.md in `code` are parts of strings of the package."""
    strings = [
        node.value
        for file in (REPOSITORY / "jaxbert").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    parts = [part for line in re.findall(r"^### .*", page, re.M) for part in line.split("`")[1::2]]
    assert len(parts) > 12
    assert [part for part in parts if not any(part in string for string in strings)] == []


# --- code that is run -----------------------------------------------------------------------------


def run_page(name: str, tiny: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run a page of code, a tiny model in place of MiniLM where one is trained or has been.

    Returns:
        What each block printed. What the page shows as text has been compared with it.
    """
    monkeypatch.chdir(work)
    # One device, as most who read the page have: with eight there are other steps.
    one = make_parallel("jit", jax.devices()[:1])
    monkeypatch.setattr("jaxbert.runs.inputs.make_parallel", lambda *_, **__: one)
    page = (DOCS / name).read_text(encoding="utf-8")
    for trained in re.findall(r'from_pretrained\("(runs/\w+_demo)"', page):
        page = page.replace(f'"{trained}"', f'"{tiny}"')
    page = page.replace('model="minilm-l6"', f'model="{tiny}"')
    page = page.replace('model_name_or_path="minilm-l6"', f'model_name_or_path="{tiny}"')
    printed = []
    for block, out, shown in page_code.run(page, name):
        if shown is not None and shown.kind == "text":
            assert out == shown.text, f"{name}:{block.line}: run python tests/page_code.py"
        printed.append(out)
    return printed


@pytest.mark.integration
@pytest.mark.usefixtures("compilations")
@pytest.mark.parametrize(
    ("name", "count"), [("three_questions.md", 8), ("keras.md", 2), ("own_task.md", 1)]
)
def test_what_pages_print(
    name: str, count: int, tiniest_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(run_page(name, tiniest_folder, tmp_path, monkeypatch)) == count


@pytest.mark.integration
@pytest.mark.usefixtures("compilations")
def test_the_example_of_the_readme_runs(
    tiniest_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = README.read_text(encoding="utf-8").replace('"minilm-l6"', f'"{tiniest_folder}"')
    page = page.replace("output_dir=", "max_steps=2, output_dir=")
    printed = [out for _, out, _ in page_code.run(page, "README.md")]
    assert len(printed) == 2
    last = printed[0].splitlines()[-1]  # after what the training says
    assert re.fullmatch(r"\[\{'label': '(negative|positive)', 'score': 0\.\d+\}\]", last)
