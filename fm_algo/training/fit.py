"""Train a model from the first epoch to the saved result, with checkpoints on the way."""

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
    """Train, and save the model and checkpoints; each report is yielded before it is acted on.

    Parameters
    ----------
    learner : Learner
        It has its rows already, and its state is that of `store.progress`.
    hyperparameters : Hyperparameters
        epochs, batch_metrics_publish_interval and those of early stopping.
    store : Store
        Saves the model and the checkpoints.
    peers : Peers
        The other hosts of the job. They also tell whether to stop.
    validate : callable, optional
        See `train`.

    Yields
    ------
    Report
        The last one is an `EndReport`.

    Raises
    ------
    AlgorithmError, UserError
        See `train`.
    PlatformError
        If the store cannot save the model or a checkpoint.
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
