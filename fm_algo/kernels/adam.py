"""The numbers of MXNet's lazy Adam that every kernel shares."""

import math
from dataclasses import dataclass

from fm_algo.hyperparameters import Hyperparameters

BETA1 = 0.9
BETA2 = 0.999
DEFAULT_EPSILON = 1e-8


@dataclass(frozen=True, slots=True)
class AdamConstants:
    """What stays the same over a whole job.

    Attributes
    ----------
    rescale : float
        Factor of each summed gradient; 1 / mini_batch_size unless set, for short batches too.
    clip : float
        Largest absolute gradient, decay included; infinite when off.
    epsilon : float
        Added to the root of the second moment, after bias correction has left it alone.
    """

    rescale: float
    clip: float
    epsilon: float

    @classmethod
    def of(cls, hyperparameters: Hyperparameters) -> "AdamConstants":
        """Take them from the hyperparameters; the defaults are the built-in's."""
        rescale, clip, eps = (
            hyperparameters.rescale_grad,
            hyperparameters.clip_gradient,
            hyperparameters.eps,
        )
        return cls(
            rescale=1 / hyperparameters.mini_batch_size if rescale is None else rescale,
            clip=clip if clip is not None and clip > 0 else math.inf,
            epsilon=DEFAULT_EPSILON if eps is None else eps,
        )


def bias_correction(step: int) -> float:
    """Factor of the learning rate at step 1, 2, …: √(1 − β2^t) / (1 − β1^t).

    Kingma and Ba, "Adam", ICLR 2015, end of section 2: the order in which epsilon stays outside
    the corrected root. One count serves all parameters, present in the batch or not, as in MXNet.
    """
    return math.sqrt(1 - BETA2**step) / (1 - BETA1**step)
