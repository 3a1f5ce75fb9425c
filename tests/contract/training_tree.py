"""A directory that plays /opt/ml for one training job, and rows to fill it with."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from container.settings import Paths
from container.training import train_job
from fm_algo.data.recordio_file import write_recordio

ROOT = Path(__file__).resolve().parent.parent.parent
TIMEOUT_S = 60
FEATURE_DIM = 6


@dataclass(frozen=True)
class Outcome:
    """What a finished `train` leaves to see."""

    code: int
    lines: list[str]
    errors: str


class TrainingTree:
    """The platform's tree: by default a regressor on a train channel of CSV, without its files.

    Attributes
    ----------
    base : Path
        What /opt/ml would be.
    """

    def __init__(self, base: Path, *, has_report: bool = False) -> None:
        # A report takes longer than most of these jobs.
        self._report = None if has_report else "false"
        self.base = base
        self._channels: dict[str, dict[str, object]] = {}
        self.hyperparameters()
        self.config("resourceconfig", {"current_host": "algo-1", "hosts": ["algo-1"]})
        self.config("inputdataconfig", {})

    @property
    def model(self) -> Path:
        return self.base / "model"

    @property
    def failure(self) -> str | None:
        path = self.base / "output" / "failure"
        return path.read_text() if path.exists() else None

    def config(self, name: str, content: object) -> None:
        """Write input/config/NAME.json: bytes as they are, anything else as JSON."""
        path = self.base / "input" / "config" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())

    def hyperparameters(self, **changes: str | None) -> None:
        """Write hyperparameters.json: those of a small job, changed; None leaves one out."""
        chosen = {
            "feature_dim": str(FEATURE_DIM),
            "num_factors": "3",
            "predictor_type": "regressor",
            "epochs": "3",
            "mini_batch_size": "20",
            "linear_lr": "0.01",
            "factors_lr": "0.01",
            "report": self._report,
            **changes,
        }
        given = {name: value for name, value in chosen.items() if value is not None}
        self.config("hyperparameters", given)

    def channel(
        self,
        name: str,
        files: Mapping[str, bytes] | None = None,
        content_type: str | None = "text/csv",
        **described: object,
    ) -> Path:
        """Announce a channel and write its files; return its directory."""
        entry: dict[str, object] = {
            "TrainingInputMode": "File",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None",
        }
        if content_type is not None:
            entry["ContentType"] = content_type
        self._channels[name] = entry | described
        self.config("inputdataconfig", self._channels)
        directory = self.base / "input" / "data" / name
        directory.mkdir(parents=True, exist_ok=True)
        for path, content in (files or {}).items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_bytes(content)
        return directory

    def start(
        self,
        *,
        program: Sequence[str] = (str(ROOT / "train"),),
        prefix: Sequence[str] = (),
        **environment: str,
    ) -> subprocess.Popen[str]:
        """Start the real program, with nothing else in its environment."""
        own = {"PATH": os.defpath, "SAGEMAKER_BASE_DIR": str(self.base)}
        return subprocess.Popen(
            [*prefix, sys.executable, *program],
            env=own | environment,
            cwd=self.base,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def train(self, **environment: str) -> Outcome:
        """Run the real program to its end."""
        return finish(self.start(**environment))

    def run(self) -> None:
        """Do what the program does, here and now: errors are raised."""
        train_job.run(Paths(self.base), threading.Event())


def finish(process: subprocess.Popen[str]) -> Outcome:
    """Wait for the end of a program; one that does not end is killed."""
    try:
        output, errors = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Outcome(process.returncode, output.splitlines(), errors)


@dataclass(frozen=True)
class Rows:
    """Rows of numbers that every format can say exactly."""

    features: np.ndarray
    labels: np.ndarray

    @classmethod
    def draw(cls, seed: int, num_rows: int, *, classes: bool = False) -> "Rows":
        """Draw rows whose labels follow from interactions; about half of the values are 0."""
        random = np.random.default_rng(seed)
        shape = (num_rows, FEATURE_DIM)
        features = random.integers(1, 9, shape) / 4 * (random.random(shape) < 0.5)
        labels = features[:, 0] * features[:, 1] - features[:, 2] * features[:, 3] + features[:, 4]
        if classes:
            labels = (labels > 0.5).astype(float)
        return cls(features.astype(np.float32), labels.astype(np.float32))

    def __getitem__(self, rows: slice) -> "Rows":
        return Rows(self.features[rows], self.labels[rows])

    @property
    def csv(self) -> bytes:
        table = np.column_stack([self.labels, self.features]).tolist()
        return "".join(",".join(map(repr, row)) + "\n" for row in table).encode()

    @property
    def libsvm(self) -> bytes:
        return "".join(
            " ".join([repr(label), *(f"{key}:{value}" for key, value in entries)]) + "\n"
            for label, entries in self._sparse()
        ).encode()

    @property
    def jsonlines(self) -> bytes:
        return "".join(
            json.dumps(
                {
                    "label": label,
                    "data": {"features": {"keys": keys, "values": values, "shape": [FEATURE_DIM]}},
                }
            )
            + "\n"
            for label, entries in self._sparse()
            for keys, values in [([key for key, _ in entries], [value for _, value in entries])]
        ).encode()

    def recordio(self, folder: Path, *, sparse: bool) -> bytes:
        """RecordIO-protobuf; `folder` is for a file of our own."""
        import scipy.sparse

        path = folder / "rows.pbr"
        rows = scipy.sparse.csr_array(self.features) if sparse else self.features
        write_recordio(path, rows, self.labels)
        return path.read_bytes()

    def _sparse(self) -> list[tuple[float, list[tuple[int, float]]]]:
        return [
            (label, [(key, value) for key, value in enumerate(row) if value])
            for label, row in zip(self.labels.tolist(), self.features.tolist(), strict=True)
        ]
