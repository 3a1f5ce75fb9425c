"""`ModelReport`: what an estimator can show of its model, as a page and as numbers."""

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fm_algo.answers.report.page import make_page
from fm_algo.artifacts.whole_file import write_whole
from fm_algo.data.tables.encoder import TableEncoder
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch
from fm_algo.training.census import Census
from fm_algo.training.metrics import Metric
from fm_algo.training.report import EpochReport
from fm_algo.training.report_data import Course, collect, numbers, score
from fm_algo.training.row_sample import RowSample
from fm_algo.training.rows import Rows
from fm_algo.training.verdict import judge

_HEIGHT_PX = 900


@dataclass(frozen=True, slots=True)
class ModelReport:
    """A report of a model, like that of a training job.

    A notebook shows it as it is.

    Attributes
    ----------
    page : str
        One HTML file: plots as SVG, no script.
    metrics : dict of str to object
        The numbers of a job's metrics.json; docs/report.md says what is what.
    verdict : str
        Whether the model is better than the best constant; if it is not, why most likely, and what
        to set. Empty of a ranker.
    """

    page: str
    metrics: dict[str, object]
    verdict: str

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page to a file.

        Raises
        ------
        PlatformError
            If it cannot be written.
        """
        with write_whole(Path(path)) as file:
            file.write(self.page.encode())

    def _repr_html_(self) -> str:
        # In a frame, so that its styles stay its own.
        page = html.escape(self.page, quote=True)
        style = f"width:100%;height:{_HEIGHT_PX}px;border:0"
        return f'<iframe title="report" style="{style}" srcdoc="{page}"></iframe>'


def make_report(
    model: FMModel,
    hyperparameters: Hyperparameters,
    epochs: Sequence[EpochReport],
    rows: CSRBatch,
    encoder: TableEncoder | None = None,
    of_rankings: Sequence[Metric] = (),
) -> ModelReport:
    """Report on a model by rows with labels.

    Parameters
    ----------
    model : FMModel
    hyperparameters : Hyperparameters
        Those it was trained with.
    epochs : sequence of EpochReport
        The course of the training; none if it is not known.
    rows : CSRBatch
        Best such as were not trained on.
    encoder : TableEncoder, optional
        Names features.
    of_rankings : sequence of Metric, optional
        With a ranking loss: what the rankings reach.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    UserError
        If there are no rows.
    """
    census, sample = Census(rows.feature_dim, hyperparameters.seed), RowSample(hyperparameters.seed)
    census.watch(Rows.in_memory(rows))
    sample.add(rows)
    facts = census.facts()
    course = Course(
        hyperparameters=hyperparameters,
        num_hosts=1,
        epochs=epochs,
        validation=(),
        test=of_rankings,
        elapsed_s=sum(epoch.elapsed_s for epoch in epochs),
        facts=facts,
        train_rows=sample.rows(),
        encoder=encoder,
    )
    outcome, verdict = None, None
    if hyperparameters.loss is None:  # else a margin alone means nothing
        outcome = score(model, "given", sample.rows() or rows, epochs)
        verdict = judge(hyperparameters, facts, outcome)
    page = make_page(collect(model, course, outcome, verdict))
    return ModelReport(page, numbers(course, verdict), "" if verdict is None else str(verdict))
