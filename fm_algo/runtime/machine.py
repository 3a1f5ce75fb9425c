"""The processors and memory this process may use; a container often has only a share of them."""

import math
import os
import resource
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60  # cgroup v1 says "no limit" with a number of about this size


def usable_processors() -> int:
    """Count the processors this process may run on, within a container's CPU quota."""
    processors = len(os.sched_getaffinity(0))
    quota = _cpu_quota()
    return processors if quota is None else max(1, min(processors, math.ceil(quota)))


def usable_memory_bytes() -> int:
    """Return the memory this process may have: the least of machine, cgroup and ulimit -v.

    Addresses already used are subtracted from ulimit -v: libraries alone take hundreds of MB.
    """
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    address_space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if address_space != resource.RLIM_INFINITY:
        limits.append(max(address_space - _used_addresses(), 0))
    for file in (_CGROUP / "memory.max", _CGROUP / "memory" / "memory.limit_in_bytes"):
        words = _read_words(file)
        if words and words[0].isdigit() and int(words[0]) < _UNLIMITED:
            limits.append(int(words[0]))
    return min(limits)


def _used_addresses() -> int:
    words = _read_words(Path("/proc/self/statm"))  # proc(5): in pages; the first is the total
    return int(words[0]) * os.sysconf("SC_PAGE_SIZE") if words else 0


def _cpu_quota() -> float | None:
    """Return how many processors' time a cgroup grants, e.g. 1.5; None without a limit."""
    words = _read_words(_CGROUP / "cpu.max")  # version 2: "150000 100000" or "max 100000"
    if not words:
        words = [
            *_read_words(_CGROUP / "cpu" / "cpu.cfs_quota_us"),
            *_read_words(_CGROUP / "cpu" / "cpu.cfs_period_us"),
        ]
    if len(words) != 2 or not words[0].isdigit():
        return None
    return int(words[0]) / int(words[1])


def _read_words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def peak_memory_bytes() -> int:
    """Return the most memory that this process has held, in bytes."""
    # Not ru_maxrss: Linux starts it with the memory of the process that started this one.
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) << 10
    except (OSError, IndexError):  # another system
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
