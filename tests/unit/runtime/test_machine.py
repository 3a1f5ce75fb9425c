import subprocess
import sys

import pytest


def usable_bytes_under(limit_kb):
    """Ask in a process of its own, under `ulimit -v`."""
    code = "from fm_algo.runtime.machine import usable_memory_bytes as ask; print(ask())"
    command = f"ulimit -v {limit_kb} && exec {sys.executable} -c '{code}'"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.parametrize("limit_mb", [500, 1000])
def test_of_an_address_space_what_is_left_is_usable(limit_mb):
    usable_mb = usable_bytes_under(limit_mb << 10) >> 20

    assert 0 < usable_mb < limit_mb - 5, "Python itself takes some"
    assert usable_mb > limit_mb - 200


def test_no_more_than_the_machine_has_is_usable():
    everything, little = usable_bytes_under("unlimited"), usable_bytes_under(1 << 20)

    assert little < 1 << 30
    assert everything > little


def test_the_peak_of_memory_is_what_was_taken():
    ask = "from fm_algo.runtime.machine import peak_memory_bytes as ask"
    code = f"{ask}; b = bytearray(200 << 20); b[:] = b'1' * len(b); print(ask())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert 200 << 20 < int(done.stdout) < 700 << 20
