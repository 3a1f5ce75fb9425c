"""A progress bar of a training, on standard error."""

from collections.abc import Iterator

import tqdm

from fm_algo.training.report import BatchReport, EpochReport, Report


def with_progress_bar(
    reports: Iterator[Report],
    num_rows: int | None,
    *,
    is_hidden: bool | None = False,
    stays: bool = True,
) -> Iterator[Report]:
    """Pass reports on, and show a progress bar with the last epoch's first metric.

    Parameters
    ----------
    reports : iterator of Report
    num_rows : int or None
        Rows of all epochs together, if they are known.
    is_hidden : bool or None, optional
        None hides the bar if standard error is not a terminal.
    stays : bool, optional
        Whether the bar can still be seen afterwards.

    Yields
    ------
    Report
    """
    with tqdm.tqdm(
        total=num_rows, unit=" rows", unit_scale=True, disable=is_hidden, leave=stays
    ) as bar:
        for report in reports:
            if isinstance(report, BatchReport):
                bar.update(report.num_rows)
            elif isinstance(report, EpochReport):
                bar.set_postfix_str(_describe(report), refresh=False)
            yield report


def _describe(report: EpochReport) -> str:
    channel, metrics = "train", report.metrics
    if report.validation:
        channel, metrics = "validation", report.validation
    return "".join(f"{channel} {metric.name} {metric.value:.4g}" for metric in metrics[:1])
