"""The leader's view of all rows: as of one array, in the order of the features."""

import numpy as np
import pytest

from fm_algo.artifacts.artifact import load_model, save_model
from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.training.gradient.cpu import CPUKernel
from fm_algo.training.gradient.parameters import PARAMETER_ROWS
from fm_algo.training.initialization import draw_initial, initial_model

HYPERPARAMETERS = parse_hyperparameters(
    {"feature_dim": 103, "num_factors": 5, "predictor_type": "regressor", "optimizer": "ftrl"}
)


@pytest.fixture
def service(group):
    from fm_algo.training.distributed.row_kernel import RowKernel
    from fm_algo.training.distributed.shared_rows import RowService

    kernel = RowKernel(HYPERPARAMETERS, group)
    draw_initial(kernel.writable_model(), HYPERPARAMETERS)
    return RowService(kernel)


def test_a_model_is_saved_as_of_one_host(service, tmp_path):
    save_model(tmp_path, service.model(), {})

    saved, expected = load_model(tmp_path), initial_model(HYPERPARAMETERS)
    for name in ("w0", "w", "V"):
        np.testing.assert_array_equal(getattr(saved, name), getattr(expected, name))


@pytest.mark.parametrize("block_bytes", [100, 64 * 7, 1 << 20])
def test_the_bytes_are_those_of_one_hosts_array_and_go_back(service, block_bytes):
    one = CPUKernel.starting_from(initial_model(HYPERPARAMETERS), HYPERPARAMETERS)
    expected = np.asarray(one.state()[PARAMETER_ROWS])
    rows = service.state()[PARAMETER_ROWS]
    assert (rows.shape, rows.dtype, rows.nbytes) == (expected.shape, np.float32, expected.nbytes)

    content = b"".join(map(bytes, rows.blocks(block_bytes)))
    assert content == expected.tobytes()

    changed = np.arange(expected.size, dtype=np.float32).tobytes()
    done = 0
    for block in rows.blocks_to_fill(block_bytes):
        block[:] = changed[done : done + len(block)]
        done += len(block)
    assert done == len(changed)
    assert b"".join(map(bytes, rows.blocks(block_bytes))) == changed

    rows[...] = 0
    assert not np.any(rows[:])
