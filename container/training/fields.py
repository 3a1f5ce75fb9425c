"""Learn from the training rows of a job which field each feature belongs to: one pass over them."""

import logging
import time
from collections.abc import Callable

from container.settings import Paths
from container.training.channel import check_fields
from container.training.channels import read_channel
from container.training.job import TrainingJob
from fm_algo.data.fields import UNSEEN, LearntFields
from fm_algo.sparse.feature_space import FeatureSpace

_log = logging.getLogger("fm_algo")


def learn_fields(
    paths: Paths, job: TrainingJob, should_stop: Callable[[], bool]
) -> FeatureSpace | None:
    """Learn the fields of the features from the train channel, which is libffm text.

    Parameters
    ----------
    paths : Paths
    job : TrainingJob
    should_stop : callable
        As for `read_sources`.

    Returns
    -------
    FeatureSpace or None
        As from `LearntFields.finish`. None after a stop was requested.

    Raises
    ------
    UserError
        As from `check_fields` and `read_channel`; or at the first entry whose feature is in two
        fields: names file, line, feature and both.
    PlatformError
        As from `read_channel`.
    """
    check_fields(job.channels, len(job.resources.hosts))
    started, num_rows = time.perf_counter(), 0
    learnt = LearntFields(job.hyperparameters.feature_dim)
    for rows in read_channel(paths, job, "train", 0, should_stop, learnt):
        num_rows += rows.num_rows
    if should_stop():
        return None
    space = learnt.finish()
    _log.info(
        "learnt from libffm text: %d fields with %d features, feature_dim %d, %d rows, %.1f s",
        len(space.fields) - (UNSEEN in space.fields),
        learnt.num_features,
        space.feature_dim,
        num_rows,
        time.perf_counter() - started,
    )
    return space
