"""`Trained`: what every estimator does with the model that it has learnt."""

import os
from pathlib import Path

import msgspec
from sklearn.utils.validation import check_is_fitted

from fm_algo.artifacts.artifact import Label, save_model
from fm_algo.artifacts.location import write_to
from fm_algo.estimators.tables import TakesTables
from fm_algo.hyperparameters import OF_TABLES, Hyperparameters
from fm_algo.model import FMModel
from fm_algo.sparse import Float32Array


class Trained(TakesTables):
    """Has a model, saves it, and names its features."""

    model_: FMModel
    hyperparameters_: dict[str, object]

    def save(self, location: str | os.PathLike[str]) -> None:
        """Write the artifact that a training job would write, and a server serves.

        Parameters
        ----------
        location : path or str
            A directory, which is made if need be, or a name in .tar.gz, as an endpoint wants it;
            either may be s3://bucket/key if boto3 is installed.

        Raises
        ------
        UserError
            If the labels are none that an artifact can hold, or S3 refuses it.
        PlatformError
            If it cannot be written.
        """
        check_is_fitted(self, "model_")
        labels = self._labels()

        def write(directory: Path) -> None:
            save_model(
                directory, self.model_, self.hyperparameters_, tables=self.tables_, labels=labels
            )

        write_to(os.fspath(location), write)

    def feature_name(self, feature: int) -> str:
        """Return what a feature is: with `columns` such as ``user=u7``, else a column of X."""
        check_is_fitted(self, "model_")
        if self.tables_ is not None:
            return self.tables_.encoder.feature_name(feature)
        names = getattr(self, "feature_names_in_", None)
        return str(feature) if names is None else str(names[feature])

    @property
    def factors_(self) -> Float32Array:
        """Factors, float32, shape (feature_dim, num_factors)."""
        check_is_fitted(self, "model_")
        return self.model_.V

    def _described(self, chosen: Hyperparameters) -> dict[str, object]:
        """Return the hyperparameters of a training, with what was said of tables."""
        described: dict[str, object] = msgspec.to_builtins(chosen)
        return described | {name: getattr(self, name) for name in OF_TABLES}

    def _labels(self) -> tuple[Label, ...] | None:
        """Return what an artifact must know of the labels."""
        return None
