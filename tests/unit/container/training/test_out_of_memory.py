import pytest

from container.training.job import Channel, Resources, TrainingJob
from container.training.out_of_memory import telling_what_fits, what_fits
from fm_algo.errors import as_told
from fm_algo.hyperparameters import parse_hyperparameters

GIB = 1 << 30


def chosen(**values):
    given = {"feature_dim": 10**9, "num_factors": 64, "predictor_type": "regressor"}
    return parse_hyperparameters(given | values)


def test_a_model_that_does_not_fit_is_told_what_would():
    assert what_fits(chosen(feature_dim=10**8), 64 * GIB) == (
        "feature_dim=100000000 with num_factors=64 takes 77.5 GiB with the states of "
        "optimizer=adam, and 32 GiB is there for it: feature_dim=41297762 or num_factors=24 would "
        'fit; features numbered by a hash need a lower feature_dim (in columns, {"hash": BITS})'
    )


def test_hosts_share_the_model():
    assert what_fits(chosen(feature_dim=10**8), 64 * GIB, num_hosts=2) != ""
    assert what_fits(chosen(feature_dim=10**8), 64 * GIB, num_hosts=3) == ""


@pytest.mark.parametrize("num_factors", [1, 64])
def test_what_would_fit_does_fit(num_factors):
    told = what_fits(chosen(num_factors=num_factors), 64 * GIB)
    fits = int(told.partition("for it: feature_dim=")[2].split()[0])

    assert not what_fits(chosen(feature_dim=fits, num_factors=num_factors), 64 * GIB)
    assert what_fits(chosen(feature_dim=fits + 1, num_factors=num_factors), 64 * GIB)


def test_narrower_factors_are_named_only_where_they_would_fit():
    assert "num_factors=64 takes 775 GiB" in what_fits(chosen(), 64 * GIB)
    assert " or num_factors=" not in what_fits(chosen(), 64 * GIB)


@pytest.mark.parametrize("optimizer", ["als", "mcmc"])
def test_where_the_rows_decide_nothing_is_told(optimizer):
    assert what_fits(chosen(optimizer=optimizer), GIB) == ""


def test_a_lack_of_memory_is_told_with_its_cause():
    job = TrainingJob(
        hyperparameters=chosen(feature_dim=2**31 - 1, num_factors=10**6),
        channels={"train": Channel()},
        resources=Resources(),
    )

    with pytest.raises(MemoryError) as raised, telling_what_fits(job):
        raise MemoryError("8 EiB")

    told = as_told(raised.value).message
    assert told.startswith("out of memory: use a larger instance (8 EiB); feature_dim=2147483647")
    assert "takes 22.9 PiB with the states of optimizer=adam" in told


def test_a_lack_of_memory_that_the_model_is_not_to_blame_for_is_told_as_it_is():
    job = TrainingJob(
        hyperparameters=chosen(feature_dim=1),
        channels={"train": Channel()},
        resources=Resources(),
    )

    with pytest.raises(MemoryError) as raised, telling_what_fits(job):
        raise MemoryError("8 EiB")

    assert as_told(raised.value).message == "out of memory: use a larger instance (8 EiB)"
