"""Negatives are items that the user does not have, drawn by counter."""

import numpy as np
import pytest
from drawn_positives import NUM_ITEMS, draw_positives, hyperparameters, positives_of

from fm_algo.training.ranking.negatives import Negatives

LOSS = {"loss": "bpr"}


def owned_by(positives):
    return {
        user: set(positives.items[positives.users == user].tolist())
        for user in np.unique(positives.users).tolist()
    }


@pytest.mark.parametrize("power", [0, 0.5, 1, 1000])
def test_nobody_is_given_an_item_that_he_has(power):
    positives = draw_positives(0, 600)
    negatives = Negatives(positives, hyperparameters(negative_sampling_power=power, **LOSS))
    owned = owned_by(positives)

    drawn = negatives.draw(0, np.arange(600), 0, 20)

    assert drawn.min() >= 0
    assert drawn.max() < NUM_ITEMS
    for row, user in enumerate(positives.users.tolist()):
        assert not owned[user] & set(drawn[row].tolist())


def test_all_items_that_a_user_lacks_are_alike():
    positives = positives_of([(0, item) for item in range(1, NUM_ITEMS, 2)])
    negatives = Negatives(positives, hyperparameters(**LOSS))

    drawn = negatives.draw(3, np.arange(20), 0, 2000)

    counts = np.bincount(drawn.reshape(-1), minlength=NUM_ITEMS)
    assert not counts[1::2].any()
    np.testing.assert_allclose(counts[::2], 2000, atol=5 * np.sqrt(2000))


def test_frequent_items_are_drawn_as_often_as_asked_for():
    pairs = [(user, item) for user in range(9) for item in range(user + 1)]  # item 0: 9 times, …
    positives = positives_of([*pairs, (9, 39)])
    negatives = Negatives(positives, hyperparameters(negative_sampling_power=0.5, **LOSS))

    last = positives.num_rows - 1
    drawn = negatives.draw(0, np.full(100, last), 0, 1000)

    counts = np.bincount(drawn[0], minlength=NUM_ITEMS)[:9]
    expected = np.sqrt(np.arange(9, 0, -1))
    expected *= counts.sum() / expected.sum()
    assert counts.sum() == 1000
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_who_has_all_items_has_no_negative():
    all_of_them = [(4, item) for item in range(NUM_ITEMS)]
    positives = positives_of([(3, 7), *all_of_them, (5, 0)])
    negatives = Negatives(positives, hyperparameters(**LOSS))
    assert negatives.usable.tolist() == [0, NUM_ITEMS + 1]


def test_who_has_all_items_but_one_is_given_that_one():
    positives = positives_of([(0, item) for item in range(NUM_ITEMS) if item != 17])
    for power in (0, 1):
        chosen = hyperparameters(negative_sampling_power=power, **LOSS)
        assert (Negatives(positives, chosen).draw(1, np.arange(39), 2, 9) == 17).all()


def test_a_draw_depends_on_seed_epoch_positive_and_number_alone():
    positives = draw_positives(1)
    negatives = Negatives(positives, hyperparameters(seed=2**62 + 5, **LOSS))
    whole = negatives.draw(7, np.arange(150), 0, 6)

    some = np.array([140, 3, 77])
    assert (negatives.draw(7, some, 2, 5) == whole[some, 2:5]).all()
    for other, epoch in ((negatives, 8), (Negatives(positives, hyperparameters(**LOSS)), 7)):
        assert (other.draw(epoch, np.arange(150), 0, 6) != whole).mean() > 0.9
    assert (whole[:, 0] != whole[:, 1]).mean() > 0.9
