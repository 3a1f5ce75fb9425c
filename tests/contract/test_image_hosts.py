"""Two hosts as the platform runs them: a container each, on a network of their own."""

import uuid

import numpy as np
import pytest
from host_trees import HostTrees
from test_image import docker
from training_tree import Rows, TrainingTree

from fm_algo.artifacts.artifact import load_model

pytestmark = pytest.mark.docker


@pytest.fixture
def network(image, tmp_path):
    """A network of containers; whatever is on it is gone afterwards, as is what they own."""
    name = f"fm-test-{uuid.uuid4().hex[:12]}"
    docker("network", "create", "--internal", name)
    yield name
    for container in docker("ps", "--all", "--quiet", "--filter", f"network={name}").stdout.split():
        docker("rm", "--force", "--volumes", container, check=False)
    docker("network", "rm", name)
    docker("run", "--rm", "--volume", f"{tmp_path}:/delete", image, "chmod", "-R", "777", "/delete")


def has_torch(image):
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    return docker("run", "--rm", image, "python", "-c", code, check=False).returncode == 0


def test_an_image_without_torch_says_that_several_hosts_need_it(image, tmp_path):
    if has_torch(image):
        pytest.skip("this image has torch; the next test is for it")
    tree = TrainingTree(tmp_path)
    tree.config("resourceconfig", {"current_host": "algo-1", "hosts": ["algo-1", "algo-2"]})
    tree.channel("train", {"a.csv": Rows.draw(1, 9).csv})

    done = docker("run", "--rm", "--volume", f"{tree.base}:/opt/ml", image, "train", check=False)

    assert done.returncode == 1
    assert "2 hosts exchange their numbers by torch, which this image lacks" in tree.failure


def test_two_containers_make_the_model_of_one_host(image, network, tmp_path):
    if not has_torch(image):
        pytest.skip("this image has no torch; the test before is for it")

    def describe(tree, size):
        tree.hyperparameters(mini_batch_size=str(size), shuffle="false", eps="0.001")
        tree.channel("train", {"a.csv": Rows.draw(1, 1000).csv})
        tree.channel("test", {"a.csv": Rows.draw(2, 100).csv})

    one = TrainingTree(tmp_path / "one")
    describe(one, 24)
    one.run()
    hosts = HostTrees(tmp_path, 2, lambda tree, _: describe(tree, 12))
    names = [f"algo-{number + 1}.{network}" for number in range(2)]  # as unique as the network
    for name, tree in zip(names, hosts.trees, strict=True):
        tree.config("resourceconfig", {"current_host": name, "hosts": names})
        docker(
            "run", "--detach", "--name", name, "--network", network,
            "--volume", f"{tree.base}:/opt/ml", image, "train",
        )  # fmt: skip
    logs = []
    for name in names:
        code = docker("wait", name).stdout.strip()
        logs.append(docker("logs", name).stdout)
        assert code == "0", logs[-1]

    got, expected = hosts.model(), load_model(one.model)
    for part in ("w0", "w", "V"):
        np.testing.assert_allclose(
            getattr(got, part), getattr(expected, part), rtol=1e-6, atol=1e-6, err_msg=part
        )
    for name, log in zip(names, logs, strict=True):
        assert f"#quality_metric: host={name}, test rmse <loss>=" in log
