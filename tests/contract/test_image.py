"""The image as SageMaker runs it: the same contract as the programs', plus what Docker adds."""

import json
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fm_algo.artifacts.artifact import load_model
from fm_algo.runtime.image_cache import levels

pytestmark = pytest.mark.docker

START_TIMEOUT_S = 60
TRAINING_STOP_S = 120
"""What the platform grants a training job between SIGTERM and SIGKILL."""
SERVING_STOP_S = 30
"""What it grants a server."""


def docker(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["docker", *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False
    )
    if check and done.returncode:
        pytest.fail(f"docker {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")
    return done


def write_hyperparameters(tree: Path, **changes: str) -> None:
    path = tree / "input" / "config" / "hyperparameters.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def wait_until(condition: Callable[[], object], container: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{container} is not ready: {docker('logs', container, check=False)}")
        time.sleep(0.2)


def answers(container: str, port: int) -> bool:
    code = f"import urllib.request as u; print(u.urlopen('http://localhost:{port}/ping').status)"
    return docker("exec", container, "python", "-c", code, check=False).stdout == "200\n"


def stop(container: str, grace_s: int) -> float:
    """Stop as the platform does; return the seconds it took."""
    started = time.monotonic()
    docker("stop", "-t", grace_s, container)
    return time.monotonic() - started


def exit_code(container: str) -> int:
    return int(docker("inspect", "--format", "{{.State.ExitCode}}", container).stdout)


@pytest.fixture
def tree(image: str, root: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of local_test/test_dir that any user may write to."""
    copy = tmp_path / "ml"
    shutil.copytree(
        root / "local_test/test_dir", copy, ignore=shutil.ignore_patterns("model", "output")
    )
    for directory in (copy, copy / "model", copy / "output"):
        directory.mkdir(exist_ok=True)
        directory.chmod(0o777)
    yield copy
    # A container of root leaves root's files, which only another such container can hand over.
    docker("run", "--rm", "--volume", f"{copy}:/delete", image, "chmod", "-R", "a+rwX", "/delete")


@pytest.fixture
def start() -> Iterator[Callable[..., str]]:
    """Start containers in the background; none outlives the test."""
    started: list[str] = []

    def run(*arguments: object) -> str:
        name = f"fm-test-{uuid.uuid4().hex[:12]}"
        started.append(name)
        docker("run", "--detach", "--name", name, *arguments)
        return name

    yield run
    for name in started:
        docker("rm", "--force", "--volumes", name, check=False)


@pytest.fixture(scope="module")
def model(image: str, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a model that the image trained."""
    base = tmp_path_factory.mktemp("trained")
    base.chmod(0o755)
    (base / "model").mkdir()
    (base / "output").mkdir()
    for path in (base, base / "model", base / "output"):
        path.chmod(0o777)
    test_input = f"{root}/local_test/test_dir/input:/opt/ml/input:ro"
    docker(
        "run",
        "--rm",
        "--user",
        "1000",
        "--volume",
        f"{base}:/opt/ml",
        "--volume",
        test_input,
        image,
    )
    return base / "model"


@pytest.mark.parametrize("command", [("train",), ()], ids=["train", "no_argument"])
def test_trains(image: str, tree: Path, command: tuple[str, ...]) -> None:
    done = docker("run", "--rm", "--volume", f"{tree}:/opt/ml", image, *command)

    (rmse,) = (line for line in done.stdout.splitlines() if "test rmse <loss>=" in line)
    assert float(rmse.partition("<loss>=")[2]) < 0.2
    assert load_model(tree / "model").feature_dim == 30
    assert not (tree / "output" / "failure").exists()


def test_what_root_trained_everyone_can_read(image: str, tree: Path) -> None:
    docker("run", "--rm", "--volume", f"{tree}:/opt/ml", image, "train")

    files = [path for path in (tree / "model").rglob("*") if path.is_file()]
    assert files
    assert all(path.stat().st_mode & 0o004 for path in files)


def test_trains_without_root_network_or_a_writable_image(image: str, tree: Path) -> None:
    limits = ["--user", "1000:1000", "--network", "none", "--read-only", "--tmpfs=/tmp"]
    docker("run", "--rm", *limits, "--volume", f"{tree}:/opt/ml", image, "train")

    assert load_model(tree / "model").feature_dim == 30


@pytest.mark.parametrize("shuffle", ["true", "false"])
@pytest.mark.parametrize("level", ["", *levels()])
def test_a_job_takes_the_compiled_kernels_from_the_image(
    image: str, tree: Path, shuffle: str, level: str
) -> None:
    write_hyperparameters(tree, shuffle=shuffle)
    options = ["--env", "NUMBA_DEBUG_CACHE=1", "--read-only", "--tmpfs=/tmp"]
    if level:
        options += ["--env", f"NUMBA_CPU_NAME={level}"]
    done = docker("run", "--rm", *options, "--volume", f"{tree}:/opt/ml", image, "train")

    loaded = [line for line in done.stdout.splitlines() if "data loaded from" in line]
    assert loaded
    assert all(f"/{level or levels()[0]}/" in line for line in loaded)
    assert "data saved to" not in done.stdout


def test_a_job_leaves_the_image_as_it_was(
    image: str, tree: Path, start: Callable[..., str]
) -> None:
    container = start("--volume", f"{tree}:/opt/ml", image, "train")
    docker("wait", container)

    changed = [line.split()[1] for line in docker("diff", container).stdout.splitlines()]
    assert [path for path in changed if path.startswith(("/opt/program", "/usr", "/root"))] == []


def test_a_failed_job_says_why(image: str, tree: Path) -> None:
    write_hyperparameters(tree, num_factors="none at all")

    done = docker("run", "--rm", "--volume", f"{tree}:/opt/ml", image, "train", check=False)

    reason = (tree / "output" / "failure").read_text()
    assert done.returncode == 1
    assert reason.startswith("ClientError: ")
    assert "num_factors" in reason
    assert list((tree / "model").iterdir()) == []


def test_a_stopped_job_leaves_a_whole_model(
    image: str, tree: Path, start: Callable[..., str]
) -> None:
    write_hyperparameters(tree, epochs="100000000")
    container = start("--volume", f"{tree}:/opt/ml", image, "train")
    wait_until(lambda: "#quality_metric" in docker("logs", container).stdout, container)

    assert stop(container, TRAINING_STOP_S) < TRAINING_STOP_S / 2
    assert exit_code(container) == 0
    assert load_model(tree / "model").feature_dim == 30
    assert not (tree / "output" / "failure").exists()


def test_serves_without_a_network_and_stops_in_time(
    image: str, model: Path, start: Callable[..., str]
) -> None:
    options = ["--network", "none", "--env", "SAGEMAKER_BIND_TO_PORT=9123"]
    container = start(*options, "--volume", f"{model}:/opt/ml/model:ro", image, "serve")
    wait_until(lambda: answers(container, 9123), container)

    assert stop(container, SERVING_STOP_S) < SERVING_STOP_S / 2
    assert exit_code(container) == 0


def test_another_first_word_is_run_as_a_command(image: str, tree: Path) -> None:
    secret = tree / "output" / "secret"
    secret.write_text("")
    secret.chmod(0o600)

    docker("run", "--rm", "--volume", f"{tree}:/delete", image, "chmod", "-R", "777", "/delete")

    assert secret.stat().st_mode & 0o777 == 0o777


def test_the_command_is_process_1(image: str) -> None:
    assert docker("run", "--rm", image, "cat", "/proc/1/cmdline").stdout == "cat\0/proc/1/cmdline\0"


def test_tells_the_platform_what_it_can(image: str) -> None:
    labels = json.loads(docker("inspect", "--format", "{{json .Config.Labels}}", image).stdout)

    capability = "com.amazonaws.sagemaker.capabilities"
    assert labels[f"{capability}.multi-models"] == "true"
    assert labels[f"{capability}.accept-bind-to-port"] == "true"


def test_holds_no_compiler(image: str) -> None:
    for compiler in ("cc", "gcc", "clang"):
        assert docker("run", "--rm", image, "which", compiler, check=False).returncode != 0
