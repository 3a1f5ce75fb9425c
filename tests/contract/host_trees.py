"""Several hosts of one training job: a process each, on addresses of the loopback network."""

import contextlib
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from host_network import Network
from training_tree import Outcome, TrainingTree, finish

from fm_algo.artifacts.artifact import load_model
from fm_algo.model import FMModel


class HostTrees:
    """A tree for each host, described alike; channels are as the test gives them.

    `prefix` is what to put before the program, e.g. to limit what it may use; `programs` what each
    host runs instead of it.

    Attributes
    ----------
    names : list of str
        In order; the first leads. In a network of their own, where there is one.
    trees : list of TrainingTree
    """

    def __init__(
        self,
        base: Path,
        num_hosts: int,
        describe: Callable[[TrainingTree, int], object],
        network: Network | None = None,
        prefix: Sequence[str] = (),
        programs: Sequence[Sequence[str]] | None = None,
    ) -> None:
        self._prefix = prefix
        self._programs = programs
        self._network = network
        self.names = [f"127.0.0.{number + 1}" for number in range(num_hosts)]
        if network is not None:
            self.names = list(network.names)
        self.trees = []
        for number, name in enumerate(self.names):
            tree = TrainingTree(base / name)
            resources = {"current_host": name, "hosts": self.names}
            # As one SDK does, of an interface that is not there.
            tree.config("resourceconfig", resources | {"network_interface_name": "ethwe"})
            describe(tree, number)
            self.trees.append(tree)

    @contextlib.contextmanager
    def started(
        self, numbers: Sequence[int] | None = None, **environment: str
    ) -> Iterator[list[subprocess.Popen[str]]]:
        """Start the real program on each, or on some; none in the list outlives the block."""
        if self._network is None:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                environment["FM_CLUSTER_PORT"] = str(free.getsockname()[1])
        chosen = range(len(self.trees)) if numbers is None else numbers
        processes = [self.start(number, **environment) for number in chosen]
        try:
            yield processes
        finally:
            for process in processes:
                process.kill()
                process.communicate()

    def start(self, number: int, **environment: str) -> subprocess.Popen[str]:
        """Start the real program on one of the hosts."""
        inside = self._network.inside(self.names[number]) if self._network else ()
        if self._programs is not None:
            environment["program"] = self._programs[number]
        return self.trees[number].start(prefix=[*inside, *self._prefix], **environment)

    def train(self, **environment: str) -> list[Outcome]:
        """Run the job to its end."""
        with self.started(**environment) as processes:
            return [finish(process) for process in processes]

    def model(self) -> FMModel:
        """Return the leader's model; the others must have none."""
        for tree in self.trees[1:]:
            assert list(tree.model.iterdir()) == []
        assert [path.name for path in self.trees[0].model.iterdir()] == ["model.safetensors"]
        return load_model(self.trees[0].model)
