import numpy as np
import pytest

from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.sparse import CSRBatch
from fm_algo.training.evaluation import evaluate
from fm_algo.training.fit import fit
from fm_algo.training.initialization import draw_initial
from fm_algo.training.peers import Alone
from fm_algo.training.progress_bar import with_progress_bar
from fm_algo.training.report import EndReport, EpochReport
from fm_algo.training.rows import Rows
from fm_algo.training.select import make_learner
from fm_algo.training.store import MemoryStore

LEARNERS = {"adam": {"factors_lr": "0.02", "factors_init_sigma": "0.1"}, "mcmc": {}}


def overfitting(optimizer, **changes):
    """Few rows, many factors, labels all noise: what is learnt first is their mean, then noise."""
    random = np.random.default_rng(5)
    features = (random.random((160, 6)) < 0.5) * random.normal(0, 2, (160, 6))
    rows = CSRBatch.of(features, 1 + random.normal(0, 1, 160))
    shape = {"feature_dim": 6, "num_factors": 16, "predictor_type": "regressor", "epochs": 40}
    own = {"optimizer": optimizer, "device": "cpu"} | LEARNERS[optimizer]
    hyperparameters = parse_hyperparameters(shape | own | changes)
    learner = make_learner(hyperparameters)
    draw_initial(learner.writable_model(), hyperparameters)
    learner.take_rows(Rows.in_memory(rows.rows(0, 60)))
    reports = fit(
        learner,
        hyperparameters,
        MemoryStore(learner),
        Alone(),
        lambda _epoch: evaluate(learner, "regressor", [rows.rows(60, 160)]),
    )
    return learner, reports


def errors_of(reports):
    return [report.validation[0].value for report in reports if isinstance(report, EpochReport)]


@pytest.mark.parametrize("optimizer", LEARNERS)
def test_the_learner_ends_with_the_best_epochs_model(optimizer):
    learner, reports = overfitting(optimizer, early_stopping_patience="3")
    reports = list(reports)
    errors = errors_of(reports)
    best = int(np.argmin(errors))
    as_long, of_best = overfitting(optimizer, epochs=best + 1)
    list(of_best)

    assert len(errors) == best + 4
    assert reports[-1] == EndReport(is_stopped=False, is_best_restored=True)
    for name in ("w0", "w", "V"):
        assert np.array_equal(getattr(learner.model(), name), getattr(as_long.model(), name))


def test_without_early_stopping_the_last_model_stays():
    learner, reports = overfitting("adam")
    *_, last = reports

    assert last == EndReport(is_stopped=False)
    assert learner.model().w0[0] != 0


def test_the_bar_passes_reports_on_and_tells_how_good_an_epoch_was(capsys):
    _, reports = overfitting("adam", epochs=3)
    _, again = overfitting("adam", epochs=3)

    shown = list(with_progress_bar(reports, 3 * 60))

    assert errors_of(shown) == errors_of(again)
    assert f"validation rmse {errors_of(shown)[-1]:.4g}" in capsys.readouterr().err


def test_a_hidden_bar_writes_nothing(capsys):
    _, reports = overfitting("adam", epochs=1)

    list(with_progress_bar(reports, None, is_hidden=True))

    assert capsys.readouterr().err == ""
