"""The course of a training, from its first epoch to a model in its place."""

from collections.abc import Callable, Iterator

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.training.learner import Learner
from fm_algo.training.metrics import Metric
from fm_algo.training.peers import Peers
from fm_algo.training.report import BatchReport, EndReport, Report
from fm_algo.training.store import Store
from fm_algo.training.trainer import train


def fit(
    learner: Learner,
    hyperparameters: Hyperparameters,
    store: Store,
    peers: Peers,
    validate: Callable[[int], list[Metric]] = lambda _epoch: [],
) -> Iterator[Report]:
    """Train, and keep what must outlive the training; each report comes before it is acted on.

    Parameters
    ----------
    learner : Learner
        Has taken its rows, and is where `store` says.
    hyperparameters : Hyperparameters
        epochs, batch_metrics_publish_interval and those of early stopping.
    store : Store
        Keeps the model and the checkpoints.
    peers : Peers
        The other hosts of the job, and whether to stop.
    validate : callable, optional
        As of `train`.

    Yields
    ------
    Report
        An `EndReport` is the last.

    Raises
    ------
    AlgorithmError, UserError
        As `train`.
    PlatformError
        If the store cannot keep what it must.
    """
    for report in train(
        learner, hyperparameters, validate=validate, start=store.progress, peers=peers
    ):
        yield report
        if isinstance(report, BatchReport):
            store.batch_done(report)
        else:
            store.epoch_done(report)
    if peers.agree_on_stop():
        yield EndReport(is_stopped=True)
        store.stop()
    else:
        yield EndReport(is_stopped=False, is_best_restored=store.end())
