"""What a user is told when a GPU's memory does not suffice, or the GPU fails."""

from types import SimpleNamespace

import pytest

from fm_algo.errors import PlatformError, UserError


@pytest.fixture
def memory(monkeypatch):
    """The module, on a card of 8 GB, 2 of them free, which is not there."""
    import torch

    from fm_algo.training.gradient import gpu_memory

    card = SimpleNamespace(total_memory=8e9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    monkeypatch.setattr(gpu_memory, "free_bytes", lambda _: 2_000_000_000)
    return gpu_memory


TOO_SMALL = (
    "the GPU's memory is too small: holding what is held needs 3.00 GB, and 2.00 of 8.00 GB are "
    "free; lower mini_batch_size or num_factors, take a GPU with more memory, or set device=cpu"
)


def test_what_does_not_fit_is_said_before_it_is_tried(memory):
    import torch

    memory.check_room(torch.device("cuda"), 2_000_000_000, "holding what is held")
    with pytest.raises(UserError) as caught:
        memory.check_room(torch.device("cuda"), 3_000_000_000, "holding what is held")
    assert caught.value.message == TOO_SMALL


def test_memory_that_runs_out_is_the_users_error(memory):
    import torch

    with (
        pytest.raises(UserError) as caught,
        memory.device_errors(torch.device("cuda"), 3_000_000_000, "holding what is held"),
    ):
        raise torch.OutOfMemoryError
    assert caught.value.message == TOO_SMALL


def test_a_device_that_fails_is_the_platforms(memory):
    import torch

    with (
        pytest.raises(PlatformError) as caught,
        memory.device_errors(torch.device("cuda"), 0, "a step"),
    ):
        raise torch.AcceleratorError("CUDA error: unspecified launch failure\nCUDA kernel errors …")
    assert caught.value.message == "the GPU failed: CUDA error: unspecified launch failure"
