"""The AWS SDK's own code, both versions, on the image."""

import subprocess

import pytest

pytestmark = pytest.mark.docker


@pytest.mark.parametrize(
    "example",
    [
        "v2_estimator",
        "v2_builtin_class",
        "v2_two_instances",
        "v3_model_trainer",
        "v3_two_instances",
    ],
)
def test_an_example_runs_and_finds_its_answers_right(root, image, example):
    ended = subprocess.run(
        [root / "examples/sagemaker_sdk/run.sh", image, example],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-4000:]
