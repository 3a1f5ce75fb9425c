import pytest


@pytest.fixture(scope="session")
def group():
    """A group of one host: all that is sent comes back."""
    from fm_algo.training.distributed.warm_up import lone_group

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        with lone_group() as group:
            yield group
