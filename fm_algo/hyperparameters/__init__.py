"""Every hyperparameter: what it is, and how it is read and checked.

declaration    `Hyperparameters`: each one's name, type, range, default and text, once
ranges         values of a declared type, and the words for what is allowed
checks         which values do not go together
parsing        hyperparameters.json to `Hyperparameters`
"""

from fm_algo.hyperparameters.checks import WITHOUT_GRADIENTS, beyond_the_builtin
from fm_algo.hyperparameters.declaration import (
    OF_RANKINGS,
    OF_TABLES,
    Artifact,
    Hyperparameters,
    Optimizer,
    is_of_a_job,
    shapes_model,
)
from fm_algo.hyperparameters.parsing import has_own_default, parse_hyperparameters
from fm_algo.hyperparameters.ranges import describe_range, value_type

__all__ = [
    "OF_RANKINGS",
    "OF_TABLES",
    "WITHOUT_GRADIENTS",
    "Artifact",
    "Hyperparameters",
    "Optimizer",
    "beyond_the_builtin",
    "describe_range",
    "has_own_default",
    "is_of_a_job",
    "parse_hyperparameters",
    "shapes_model",
    "value_type",
]
