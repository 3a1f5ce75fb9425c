"""Load the model that a job starts from."""

from container.settings import Paths
from container.training.channel import MODEL_CHANNEL
from container.training.job import TrainingJob
from fm_algo.artifacts.artifact import StoredModel
from fm_algo.artifacts.model_source import load_any_stored_model
from fm_algo.errors import PlatformError, UserError

PLACE = f"{MODEL_CHANNEL} channel"


def load_start(paths: Paths, job: TrainingJob) -> StoredModel | None:
    """Load the model of the model channel; None if there is no such channel.

    Raises
    ------
    UserError
        If it is no model, or one of tables for a job of numbered features, or the reverse.
    PlatformError
        If it cannot be read.
    """
    if MODEL_CHANNEL not in job.channels:
        return None
    directory = paths.input_data / MODEL_CHANNEL
    try:
        stored = load_any_stored_model(directory)
    except UserError as error:
        raise error.within(PLACE) from error
    except OSError as error:
        raise PlatformError(f"{PLACE}: {directory} cannot be read: {error}") from error
    if job.hyperparameters.columns is not None and stored.tables is None:
        raise UserError(
            f"{PLACE}: its model was trained on numbered features, so nothing tells which value of "
            "a table each one is; start from a model that was trained with columns"
        )
    if job.hyperparameters.columns is None and stored.tables is not None:
        raise UserError(
            f"{PLACE}: its model was trained on tables; give this job tables and the "
            "hyperparameter columns, too"
        )
    return stored
