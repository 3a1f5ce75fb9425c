"""Which kernel a job gets."""

from pathlib import Path

import pytest

from fm_algo.errors import UserError
from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.training.gradient import select
from fm_algo.training.gradient.cpu import CPUKernel

SMALL = {"feature_dim": 2, "num_factors": 1, "predictor_type": "regressor"}


def make(device):
    return select.make_kernel(parse_hyperparameters(SMALL | {"device": device}))


@pytest.fixture
def no_driver(monkeypatch):
    monkeypatch.setattr(select, "_DRIVER", (Path("/nowhere"),))


@pytest.fixture
def driver_without_gpu(monkeypatch):
    """A machine whose driver is there, and a torch that finds no GPU."""
    import torch

    monkeypatch.setattr(select, "_DRIVER", (Path("/"),))
    if torch.version.cuda is not None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_without_a_gpu_the_cpu_trains(no_driver, device):
    assert isinstance(make(device), CPUKernel)


def test_a_gpu_that_is_asked_for_must_be_there(no_driver):
    with pytest.raises(UserError) as caught:
        make("gpu")
    assert caught.value.message == (
        "device=gpu: this machine has no NVIDIA GPU; use a GPU instance, or device=auto or cpu"
    )


def test_a_gpu_that_cannot_be_used_is_said_to_be_there(driver_without_gpu, caplog):
    assert isinstance(make("auto"), CPUKernel)
    (record,) = caplog.records
    assert record.getMessage().startswith("the GPU is not used: ")
    with pytest.raises(UserError, match=r"^device=gpu: .*torch.*; use a GPU instance"):
        make("gpu")


def test_the_cpu_is_silent_about_a_gpu_when_it_is_asked_for(driver_without_gpu, caplog):
    assert isinstance(make("cpu"), CPUKernel)
    assert not caplog.records


def test_a_gpu_without_a_compiler_is_not_used(monkeypatch):
    import torch

    monkeypatch.setattr(select, "_DRIVER", (Path("/"),))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("PATH", "")

    with pytest.raises(UserError, match=r"^device=gpu: Triton needs gcc or clang to link"):
        make("gpu")


@pytest.fixture
def four_gpus(monkeypatch):
    """A machine with four GPUs that are not there."""
    import torch

    monkeypatch.setattr(select, "_why_no_gpu", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)


def count(num_hosts=1, most=4, **chosen):
    return select.count_gpus(parse_hyperparameters(SMALL | chosen), num_hosts, most)


@pytest.mark.parametrize(
    ("num_hosts", "most", "chosen", "expected"),
    [
        (1, 1, {"num_factors": 64}, 1),
        (1, 4, {"num_factors": 64}, 4),
        (1, 3, {"num_factors": 64}, 3),
        (1, 8, {"num_factors": 64, "device": "gpu"}, 4),
        (1, 4, {"num_factors": 64, "device": "cpu"}, 0),
        (1, 4, {"num_factors": 3}, 3),
        (1, 4, {"num_factors": 1}, 1),
        (2, 1, {"num_factors": 64}, 0),
        (2, 1, {"num_factors": 64, "device": "gpu"}, 1),
        (2, 4, {"num_factors": 5, "device": "gpu"}, 2),
        (1, 4, {"num_factors": 64, "optimizer": "rowwise_adagrad"}, 1),
        (1, 1, {"num_factors": 64, "optimizer": "rowwise_adagrad", "device": "gpu"}, 1),
        (1, 4, {"num_factors": 64, "loss": "bpr"}, 1),
    ],
)
def test_as_many_gpus_train_as_can_share_the_model_out(
    four_gpus, num_hosts, most, chosen, expected
):
    assert count(num_hosts, most, **chosen) == expected


@pytest.mark.parametrize(
    ("num_hosts", "chosen", "found"),
    [
        (
            1,
            {"num_factors": 64, "optimizer": "rowwise_adagrad"},
            "optimizer=rowwise_adagrad looks at all factors of a feature together, and 4 GPUs "
            "would each have some of them",
        ),
        (
            1,
            {"num_factors": 64, "loss": "warp"},
            "loss=warp compares items on one GPU, and here are 4 GPUs",
        ),
        (2, {}, "num_factors=1 are too few for the GPUs of 2 hosts, which need one each"),
    ],
)
def test_a_model_that_gpus_cannot_share_out_is_refused(four_gpus, num_hosts, chosen, found):
    with pytest.raises(UserError) as caught:
        count(num_hosts, device="gpu", **chosen)
    assert caught.value.message == (
        f"device=gpu: {found}; use one GPU (FM_GPUS=1) of one host, or device=auto or cpu"
    )


def test_several_hosts_without_gpus_count_none(no_driver):
    assert count(2) == 0
    with pytest.raises(UserError, match=r"^device=gpu: this machine has no NVIDIA GPU; use a GPU"):
        count(2, device="gpu")


@pytest.mark.gpu
def test_auto_takes_the_gpu():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("NOT RUN ON A GPU: this machine has none")
    assert make("auto").description.startswith("GPU ")
