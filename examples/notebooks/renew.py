"""Run the notebooks beside this file and keep their outputs; `make notebooks` runs this.

One cell needs mlflow, which is too large to be asked for. Without it, the cell says so.
"""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
CELL_TIMEOUT_S = 600


def run(path: Path) -> nbformat.NotebookNode:
    """Run a notebook where it lies, and return it with new outputs.

    Parameters
    ----------
    path : Path
        The file is not changed.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell raises.
    """
    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        timeout=CELL_TIMEOUT_S,
        record_timing=False,  # when a cell ran would differ each time
        coalesce_streams=True,
    )
    client.execute()
    notebook.metadata.language_info = {"name": "python"}  # not the version of who ran it
    return notebook


if __name__ == "__main__":
    for notebook in sorted(HERE.glob("*.ipynb")):
        nbformat.write(run(notebook), notebook)
