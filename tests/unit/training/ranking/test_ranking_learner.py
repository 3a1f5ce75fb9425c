"""Learning by comparisons: the kernels agree, and what there is to learn is learnt."""

import dataclasses

import numpy as np
import pytest
from drawn_positives import (
    FEATURE_DIM,
    NUM_ITEMS,
    NUM_USERS,
    draw_positives,
    hyperparameters,
    item_rows,
    positives_of,
    rows_of,
)

from fm_algo.errors import AlgorithmError, UserError
from fm_algo.loss import RANKING_LOSSES
from fm_algo.sparse.feature_space import FeatureSpace
from fm_algo.training.gradient.cpu import CPUKernel
from fm_algo.training.gradient.cpu_fields import FieldCPUKernel
from fm_algo.training.gradient.reference import ReferenceKernel
from fm_algo.training.initialization import initial_model
from fm_algo.training.metrics import metrics_for
from fm_algo.training.progress import Progress
from fm_algo.training.ranking.comparisons import with_items
from fm_algo.training.ranking.learner import RankingLearner
from fm_algo.training.ranking.negatives import Negatives
from fm_algo.training.ranking.warp import Search
from fm_algo.training.rows import Rows
from fm_algo.training.select import make_learner
from fm_algo.training.trainer import train

OPTIMIZERS = ["adam", "adagrad", "rowwise_adagrad", "ftrl", "sgd"]
LOSSES = ["bpr", "warp"]
SAME = {"rtol": 2e-5, "atol": 2e-5}
NEVER = type("Never", (), {"__call__": lambda _self: False})()


def learn(chosen, positives, make=CPUKernel.starting_from):
    """Return a trained learner and the metrics of each epoch."""
    learner = RankingLearner(make(initial_model(chosen), chosen), chosen)
    learner.take_rows(rows_of(positives))
    reports = [report for report in train(learner, chosen) if hasattr(report, "is_last")]
    return learner, [{each.name: each.value for each in report.metrics} for report in reports]


def assert_same(one, other):
    for name in ("w0", "w", "V"):
        got, expected = getattr(one.model(), name), getattr(other.model(), name)
        np.testing.assert_allclose(got, expected, err_msg=name, **SAME)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_each_optimizer_learns_as_in_the_reference(loss, optimizer):
    chosen = hyperparameters(
        loss=loss, optimizer=optimizer, l1=0.001, clip_gradient=0.5, num_negatives=3
    )
    positives = draw_positives(1, weighed=True)

    fast, told = learn(chosen, positives)
    slow, expected = learn(chosen, positives, ReferenceKernel)

    assert_same(fast, slow)
    assert (fast.model().V != initial_model(chosen).V).any()
    for got, right in zip(told, expected, strict=True):
        assert got == pytest.approx(right, **{"rel": 2e-5, "abs": 2e-5})


@pytest.mark.parametrize(
    "changes",
    [
        {"use_linear": False},
        {"use_bias": False},
        {"num_factors": 16},
        {"negative_sampling_power": 0.75},
        {"predictor_type": "binary_classifier"},
        {"num_negatives": 1},
        {"shuffle": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("loss", LOSSES)
def test_each_hyperparameter_acts_as_in_the_reference(loss, changes):
    chosen = hyperparameters(loss=loss, **changes)
    positives = draw_positives(2)
    fast, _ = learn(chosen, positives)
    slow, _ = learn(chosen, positives, ReferenceKernel)
    assert_same(fast, slow)


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_of_fields_are_learnt_as_in_the_reference(loss):
    chosen = hyperparameters(
        loss=loss, interaction="field_weighted", factors_init_sigma=1, linear_init_sigma=1,
        num_negatives=4,
    )  # fmt: skip
    firsts = np.array([0, NUM_USERS, NUM_USERS + 1, NUM_USERS + 1 + NUM_ITEMS])
    space = FeatureSpace.of_columns(("user", "age", "item", "kind"), firsts, FEATURE_DIM)
    positives = draw_positives(2)
    models = []
    for make in (FieldCPUKernel.starting_from, ReferenceKernel):
        learner = RankingLearner(make(initial_model(chosen, space), chosen), chosen)
        learner.take_rows(rows_of(positives))
        told = [report.metrics for report in train(learner, chosen) if hasattr(report, "is_last")]
        values = [metric.value for metrics in told for metric in metrics]
        models.append((learner.model(), values))
    (fast, fast_values), (slow, slow_values) = models
    np.testing.assert_allclose(fast.V, slow.V, **SAME)
    np.testing.assert_allclose(fast.field_weights.R, slow.field_weights.R, **SAME)
    assert (fast.field_weights.R != 1).any()
    assert fast_values == pytest.approx(slow_values, rel=1e-4)


def test_a_step_of_bpr_is_that_of_the_paper():
    """One positive: Θ += rate · σ(−d) · ∂d/∂Θ, Rendle et al. 2009, figure 4, without decay."""
    chosen = hyperparameters(
        loss="bpr", optimizer="sgd", mini_batch_size=1, epochs=1,
        factors_wd=0, linear_wd=0, bias_wd=0,
    )  # fmt: skip
    positives = positives_of([(3, 5)])
    before = initial_model(chosen)
    other = Negatives(positives, chosen).draw(0, np.array([0]), 0, 1)[0, 0]

    learner, (told,) = learn(chosen, positives)

    rows = with_items(positives, np.array([0]), np.array([[5, other]], np.int32))
    difference = np.subtract(*before.margin(rows).astype(np.float64))
    assert told["bpr"] == pytest.approx(np.log1p(np.exp(-difference)), rel=1e-5)
    moved = (learner.model().V - before.V)[:NUM_USERS]
    x = np.zeros((2, FEATURE_DIM))
    for row in range(2):
        at = slice(rows.indptr[row], rows.indptr[row + 1])
        x[row, rows.indices[at]] = rows.values[at]
    of_items = (x[0] - x[1]) @ before.V.astype(np.float64)  # ∂d/∂v of the user
    expected = chosen.factors_lr * of_items / (1 + np.exp(difference))
    np.testing.assert_allclose(moved[3], expected, rtol=1e-3, atol=1e-8)
    assert not np.delete(moved, 3, axis=0).any()


def slow_search(kernel, positives, negatives, chosen, most_tries):
    """The first violator of each positive, one draw after another."""
    found = []
    for number in chosen.tolist():
        own, item = np.array([number]), positives.items[number]
        drawn = negatives.draw(4, own, 0, most_tries)
        rows = with_items(positives, own, np.concatenate([[[item]], drawn], axis=1).astype("int32"))
        margin = kernel.margin(rows)
        places = np.flatnonzero(margin[1:] > margin[0] - 1)
        found.append((drawn[0, places[0]], places[0] + 1) if len(places) else (None, most_tries))
    return found


@pytest.mark.parametrize("make", [CPUKernel.starting_from, ReferenceKernel])
@pytest.mark.parametrize("sigma", [0.1, 0.8, 3])
def test_warp_steps_to_the_first_violator(make, sigma):
    chosen = hyperparameters(loss="warp", factors_init_sigma=sigma, linear_init_sigma=sigma)
    positives = draw_positives(5, 200)
    kernel, negatives = make(initial_model(chosen), chosen), Negatives(positives, chosen)
    numbers = np.arange(0, 200, 3)

    found = Search(4, numbers, 7).find(kernel, positives, negatives)

    expected = slow_search(kernel, positives, negatives, numbers, 7)
    violators = [item for item, _ in expected]
    assert found.tries.tolist() == [tries for _, tries in expected]
    factors = found.factors()
    for n, (item, tries) in enumerate(expected):
        if item is None:
            assert factors[n] == 0
        else:
            assert found.negatives[n] == item
            assert factors[n] == pytest.approx(np.log(max(1, (NUM_ITEMS - 1) // tries)), rel=1e-6)
    if sigma == 3:
        assert len(set(found.tries.tolist())) > 3
        assert None in violators


def planted(seed=0):
    """Let each user want the five best of all items by a model of two factors; return both."""
    drawn = np.random.default_rng(seed)
    users, items = drawn.normal(size=(NUM_USERS, 2)), drawn.normal(size=(NUM_ITEMS, 2))
    best = np.argsort(-users @ items.T, axis=1)
    pairs = [(user, item) for user in range(NUM_USERS) for item in best[user, :5].tolist()]
    return positives_of(pairs), best


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_planted_ranking_is_recovered(loss, optimizer):
    positives, best = planted()
    plain = 3 if loss == "bpr" else 0.3
    rates = {"sgd": plain, "ftrl": plain, "adam": 0.03, "adagrad": 0.3, "rowwise_adagrad": 0.3}
    rate = rates[optimizer]
    chosen = hyperparameters(
        loss=loss, optimizer=optimizer, num_factors=8, epochs=100, eps=1e-8,
        factors_lr=rate, linear_lr=rate, factors_wd=0, linear_wd=0,
    )  # fmt: skip

    learner, told = learn(chosen, positives)

    hits = 0
    for user in range(NUM_USERS):
        rows = with_items(positives, np.array([5 * user]), np.arange(NUM_ITEMS)[np.newaxis])
        top = np.argsort(-learner.margin(rows))[:5]
        hits += len(set(top.tolist()) & set(best[user, :5].tolist()))
    assert hits > 0.9 * 5 * NUM_USERS
    assert told[-1]["pairs_in_order"] > 0.95
    assert told[-1][loss] < told[0][loss] / 3


@pytest.mark.parametrize("loss", LOSSES)
def test_one_and_two_threads_give_the_same_bits(loss):
    states = []
    for num_threads in (1, 2):
        chosen = hyperparameters(loss=loss, num_threads=num_threads, mini_batch_size=100)
        learner, _ = learn(chosen, draw_positives(3, 600))
        states.append(learner.state())
    for name, array in states[0].items():
        assert array.tobytes() == states[1][name].tobytes(), name


@pytest.mark.parametrize("loss", LOSSES)
def test_training_goes_on_where_it_stopped(loss):
    chosen = hyperparameters(loss=loss, epochs=3)
    positives = draw_positives(4)
    whole, told = learn(chosen, positives)

    first, _ = begin(chosen, positives)
    reports = train(first, chosen)
    for _ in range(8):  # to the middle of the second epoch
        report = next(reports)
    progress = report.progress
    assert (progress.epoch, progress.num_batches) == (1, 2)
    second, _ = begin(chosen, positives)
    for name, array in second.writable_state().items():
        array[...] = first.state()[name]
    later = [each for each in train(second, chosen, start=progress) if hasattr(each, "is_last")]

    for name, array in whole.state().items():
        assert array.tobytes() == second.state()[name].tobytes(), name
    assert {each.name: each.value for each in later[0].metrics} == told[1]


def begin(chosen, positives):
    learner = make_learner(chosen)
    model = initial_model(chosen)
    own = learner.writable_model()
    own.w0[:], own.w[:], own.V[:] = model.w0, model.w, model.V
    learner.take_rows(rows_of(positives))
    return learner, Progress()


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_count_as_rows_do(loss):
    """With one epoch of one mini-batch, a row of weight 2 pulls as two rows do."""
    weights = np.where(np.arange(150) % 3, 1, 2).astype(np.float32)
    alike = draw_positives(6)
    weighed = dataclasses.replace(
        alike, contexts=dataclasses.replace(alike.contexts, weights=weights)
    )
    chosen = hyperparameters(
        loss=loss, optimizer="sgd", mini_batch_size=150, epochs=1, num_negatives=40,
        factors_wd=0, linear_wd=0, bias_wd=0,
    )  # fmt: skip
    before = initial_model(chosen).V
    moved = {
        name: learn(chosen, positives)[0].model().V - before
        for name, positives in (("alike", alike), ("weighed", weighed))
    }
    double = np.unique(alike.users[weights == 2])
    only = [user for user in double.tolist() if (weights[alike.users == user] == 2).all()]
    assert only
    np.testing.assert_allclose(
        moved["weighed"][only], 2 * moved["alike"][only], rtol=1e-3, atol=1e-7
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_the_metrics_are_means_over_positives_by_weight(loss):
    chosen = hyperparameters(loss=loss, epochs=1, num_negatives=4, linear_lr=0, factors_lr=0,
                             bias_lr=0, linear_init_sigma=1, factors_init_sigma=1)  # fmt: skip
    positives = draw_positives(7, weighed=True)
    _, (told,) = learn(chosen, positives)

    model, negatives = initial_model(chosen), Negatives(positives, chosen)
    drawn = negatives.draw(0, np.arange(150), 0, 4)
    items = np.concatenate([positives.items[:, np.newaxis], drawn], axis=1)
    margin = model.margin(with_items(positives, np.arange(150), items)).reshape(150, 5)
    above = margin[:, :1] - margin[:, 1:]
    if loss == "bpr":
        losses, in_order = np.log1p(np.exp(-above)).mean(axis=1), (above > 0).mean(axis=1)
    else:
        violates = above < 1
        first = violates.argmax(axis=1)
        ranks = np.log(np.maximum((NUM_ITEMS - 1) // (first + 1), 1))
        hinge = 1 - above[np.arange(150), first]
        losses, in_order = np.where(violates.any(axis=1), ranks * hinge, 0), above[:, 0] > 0
    weights = positives.contexts.weights
    assert told[loss] == pytest.approx(np.average(losses, weights=weights), rel=1e-4)
    assert told["pairs_in_order"] == pytest.approx(np.average(in_order, weights=weights))


def test_users_who_have_all_items_are_left_out_and_told(caplog):
    pairs = [(4, item) for item in range(NUM_ITEMS)]
    chosen = hyperparameters(loss="bpr", epochs=1)
    _, (told,) = learn(chosen, positives_of([*pairs, (3, 7)]))
    assert "40 rows are not learnt from: their users have all items" in caplog.text
    assert told["bpr"] > 0

    with pytest.raises(UserError, match="all users have all items"):
        learn(chosen, positives_of(pairs))


def test_rows_that_are_not_in_memory_are_refused():
    chosen = hyperparameters(loss="warp")
    learner = make_learner(chosen)
    with pytest.raises(UserError, match=r"loss=warp .* raise memory_budget_mb"):
        learner.take_rows(Rows(lambda _epoch: iter(())))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_counts_positives(loss):
    chosen = hyperparameters(loss=loss, num_negatives=3)
    learner, _ = begin(chosen, draw_positives(8))
    sizes = [step.num_rows for step in learner.steps(0, 0, lambda: False)]
    assert sizes == [32, 32, 32, 32, 22]


def test_rates_that_are_too_high_are_told():
    chosen = hyperparameters(loss="bpr", optimizer="sgd", factors_lr=1e9, epochs=30)
    with pytest.raises(AlgorithmError, match="diverged"):
        learn(chosen, draw_positives(9))


def test_the_sums_of_two_parts_are_those_of_the_whole():
    for loss in RANKING_LOSSES:
        drawn = np.random.default_rng(0)
        margin = drawn.normal(size=12).astype(np.float32)
        labels = np.tile(np.array([1, 0, 0], np.float32), 4)
        weights = np.repeat(drawn.uniform(1, 2, 4), 3).astype(np.float32)
        whole, part, resumed = (metrics_for(loss) for _ in range(3))
        whole.update(margin, labels, weights)
        part.update(margin[:3], labels[:3], weights[:3])
        resumed.restore(part.state())
        resumed.update(margin[3:], labels[3:], weights[3:])
        assert resumed.num_rows == whole.num_rows == 4
        assert [each.value for each in resumed.results()] == pytest.approx(
            [each.value for each in whole.results()]
        )
    assert metrics_for("bpr").results() == []
    assert item_rows().num_rows == NUM_ITEMS
