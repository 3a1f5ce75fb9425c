import pytest

from container.training.model_keeper import leave_wanted
from fm_algo.errors import PlatformError

BOTH = ["model.safetensors", "model_algo-1"]


def left(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize(
    ("artifact", "expected"), [("ours", BOTH), ("both", BOTH), ("builtin", BOTH[1:])]
)
def test_ours_is_removed_where_only_the_built_ins_is_wanted(tmp_path, artifact, expected):
    for name in BOTH:
        (tmp_path / name).write_bytes(b"")

    leave_wanted(tmp_path, artifact)

    assert left(tmp_path) == expected


def test_ours_stays_where_there_is_no_other(tmp_path):
    (tmp_path / BOTH[0]).write_bytes(b"")

    leave_wanted(tmp_path, "builtin")

    assert left(tmp_path) == BOTH[:1]


def test_what_cannot_be_removed_is_the_machines_fault(tmp_path):
    (tmp_path / BOTH[0]).mkdir()
    (tmp_path / BOTH[1]).write_bytes(b"")

    with pytest.raises(PlatformError, match=r"model\.safetensors cannot be removed: "):
        leave_wanted(tmp_path, "builtin")
