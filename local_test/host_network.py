"""A network of hosts on one machine: one network namespace per host, joined by a bridge."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self


class NoNetworksError(RuntimeError):
    """Networks cannot be made on this machine; the message says why."""


class Network:
    """Hosts algo-1, algo-2, …, each with its own address and hosts file.

    Nothing outside sees the network, and it ends with the `with` block.

    Parameters
    ----------
    num_hosts : int

    Raises
    ------
    NoNetworksError
        On entering, if this machine does not allow it.

    Attributes
    ----------
    names : list of str
    """

    def __init__(self, num_hosts: int) -> None:
        self.names = [f"algo-{number + 1}" for number in range(num_hosts)]
        self._id = f"fm{uuid.uuid4().hex[:8]}"

    def __enter__(self) -> Self:
        if os.geteuid() != 0 or shutil.which("ip") is None:
            raise NoNetworksError("networks of one's own need root and iproute2")
        switch = self._namespace("switch")
        try:
            _ip("netns", "add", switch)
            _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
            _ip("-n", switch, "link", "set", "bridge", "up")
            for number, name in enumerate(self.names):
                inside, port = self._namespace(name), f"port{number}"
                _ip("netns", "add", inside)
                peer = ["type", "veth", "peer", "name", "eth0", "netns", inside]
                _ip("-n", switch, "link", "add", port, *peer)
                _ip("-n", switch, "link", "set", port, "master", "bridge", "up")
                _ip("-n", inside, "address", "add", f"10.77.0.{number + 1}/24", "dev", "eth0")
                _ip("-n", inside, "link", "set", "eth0", "up")
                _ip("-n", inside, "link", "set", "lo", "up")
            for name in self.names:
                self.resolve(name, self.names)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for name in ["switch", *self.names]:
            subprocess.run(
                ["ip", "netns", "delete", self._namespace(name)], check=False, capture_output=True
            )
            shutil.rmtree(self._etc(name), ignore_errors=True)

    def inside(self, name: str) -> list[str]:
        """Return the words to put before a command so that it runs on a host."""
        return ["ip", "netns", "exec", self._namespace(name)]

    def resolve(self, name: str, known: Sequence[str]) -> None:
        """From now on, let a host know the addresses of some other hosts."""
        lines = ["127.0.0.1 localhost"]
        lines += [f"10.77.0.{self.names.index(other) + 1} {other}" for other in known]
        self._etc(name).mkdir(parents=True, exist_ok=True)
        (self._etc(name) / "hosts").write_text("\n".join(lines) + "\n")

    def cut_off(self, name: str) -> None:
        """Take a host's link down."""
        _ip("-n", self._namespace(name), "link", "set", "eth0", "down")

    def shape(self, name: str, *rate: str) -> None:
        """Shape what a host sends; `rate` holds arguments of tc."""
        command = ["tc", "-n", self._namespace(name), "qdisc", "replace", "dev", "eth0", "root"]
        subprocess.run([*command, *rate], check=True, capture_output=True)

    def _namespace(self, name: str) -> str:
        return f"{self._id}-{name}"

    def _etc(self, name: str) -> Path:
        return Path("/etc/netns", self._namespace(name))


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise NoNetworksError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
