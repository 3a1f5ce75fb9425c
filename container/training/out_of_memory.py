"""Say what would fit where a model does not fit into memory."""

from collections.abc import Iterator
from contextlib import contextmanager

from container.training.job import TrainingJob
from fm_algo.hyperparameters import WITHOUT_GRADIENTS, Hyperparameters
from fm_algo.runtime.machine import usable_memory_bytes
from fm_algo.runtime.simd import WIDTH
from fm_algo.training.gradient.parameters import Layout

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


@contextmanager
def telling_what_fits(job: TrainingJob) -> Iterator[None]:
    """Let a MemoryError note what would fit, if the model is to blame."""
    try:
        yield
    except MemoryError as error:
        hyperparameters, num_hosts = job.hyperparameters, len(job.resources.hosts)
        error.add_note(what_fits(hyperparameters, usable_memory_bytes(), num_hosts))
        raise


def what_fits(hyperparameters: Hyperparameters, usable_bytes: int, num_hosts: int = 1) -> str:
    """Return how wide a model fits into memory; "" if this one does, or learns otherwise.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    usable_bytes : int
        Memory of a host; by default, rows may take half of it.
    num_hosts : int
        How many share the model.
    """
    if hyperparameters.optimizer in WITHOUT_GRADIENTS:
        return ""
    feature_dim, layout = hyperparameters.feature_dim, Layout.of(hyperparameters)
    room = usable_bytes // 2 * num_hosts
    needed = feature_dim * layout.num_bytes
    if needed <= room:
        return ""
    fits = [f"feature_dim={max(room // layout.num_bytes, 1)}"]
    narrower = range(layout.width - WIDTH, 0, -WIDTH)
    fits += [
        f"num_factors={width}"
        for width in narrower
        if feature_dim * Layout(width, width, layout.num_v_states).num_bytes <= room
    ][:1]
    return (
        f"feature_dim={feature_dim} with num_factors={hyperparameters.num_factors} takes "
        f"{_told(needed)} with the states of optimizer={hyperparameters.optimizer}, and "
        f"{_told(room)} is there for it: {' or '.join(fits)} would fit; features numbered by a "
        'hash need a lower feature_dim (in columns, {"hash": BITS})'
    )


def _told(num_bytes: float) -> str:
    for unit in _UNITS[:-1]:
        if num_bytes < 1024:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.3g} {_UNITS[-1]}"
