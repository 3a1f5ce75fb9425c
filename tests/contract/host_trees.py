"""Several hosts of one training job: a process each, on addresses of the loopback network."""

import contextlib
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from training_tree import Outcome, TrainingTree, finish

from fm_algo.artifact import load_model
from fm_algo.model import FMModel


class HostTrees:
    """A tree for each host, described alike; channels are as the test gives them.

    Attributes
    ----------
    names : list of str
        In order; the first leads.
    trees : list of TrainingTree
    """

    def __init__(
        self,
        base: Path,
        num_hosts: int,
        describe: Callable[[TrainingTree, int], None],
        names: Sequence[str] | None = None,
    ) -> None:
        self.names = list(names or (f"127.0.0.{number + 1}" for number in range(num_hosts)))
        self.trees = []
        for number, name in enumerate(self.names):
            tree = TrainingTree(base / name)
            resources = {"current_host": name, "hosts": self.names}
            # As one SDK does, of an interface that is not there.
            tree.config("resourceconfig", resources | {"network_interface_name": "ethwe"})
            describe(tree, number)
            self.trees.append(tree)

    @contextlib.contextmanager
    def started(self, **environment: str) -> Iterator[list[subprocess.Popen[str]]]:
        """Start the real program on each; none outlives the block."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        processes = [tree.start(FM_CLUSTER_PORT=port, **environment) for tree in self.trees]
        try:
            yield processes
        finally:
            for process in processes:
                process.kill()
                process.communicate()

    def train(self) -> list[Outcome]:
        """Run the job to its end."""
        with self.started() as processes:
            return [finish(process) for process in processes]

    def model(self) -> FMModel:
        """Return the leader's model; the others must have none."""
        for tree in self.trees[1:]:
            assert list(tree.model.iterdir()) == []
        assert [path.name for path in self.trees[0].model.iterdir()] == ["model.safetensors"]
        return load_model(self.trees[0].model)
