"""What the notebooks under docs/notebooks/ print, kept in them; the site shows it.

    python tests/notebook_outputs.py question_answering losses

runs each as a reader would, with a kernel and in an empty folder, and writes its outputs into it;
without a name, all of them. Logs and progress bars are left out.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "docs" / "notebooks"


def keep_outputs(name: str) -> None:
    """Run a notebook and write what it printed, returned and drew into its file.

    Raises:
        CellExecutionError: a cell fails; the file is as it was.
    """
    path = FOLDER / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as empty:
        NotebookClient(
            notebook,
            timeout=1800,
            coalesce_streams=True,
            record_timing=False,
            resources={"metadata": {"path": empty}},
        ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [x for x in cell.outputs if x.get("name") != "stderr"]
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.ipynb")):
        keep_outputs(name)
