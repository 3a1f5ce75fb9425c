"""Where the GPU kernel runs in these tests: on the card, or in Triton's interpreter."""

import os

import pytest


@pytest.fixture(
    scope="session", params=["interpreter", pytest.param("cuda", marks=pytest.mark.gpu)]
)
def device(request: pytest.FixtureRequest) -> str:
    import torch

    has_card = torch.cuda.is_available()
    if request.param == "cuda":
        if not has_card:
            pytest.skip("NOT RUN ON A GPU: this machine has none; Triton's interpreter runs them")
        return "cuda"
    if has_card:
        pytest.skip("the card runs these tests")
    # Triton asks for it when it is imported; nothing else in these processes imports it.
    os.environ["TRITON_INTERPRET"] = "1"  # noqa: TID251 - a switch of Triton's, not of the project
    return "cpu"
