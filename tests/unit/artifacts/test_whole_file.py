import errno
import threading
from pathlib import Path

import pytest

from fm_algo.artifacts.whole_file import write_pieces, write_whole
from fm_algo.errors import PlatformError


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    with write_whole(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"

    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_after_an_error_nothing_is_left_behind(tmp_path):
    def fail():
        with write_whole(tmp_path / "a") as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()

    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_the_machines_fault(tmp_path):
    (tmp_path / "file").touch()

    with (
        pytest.raises(PlatformError, match="could not be written"),
        write_whole(tmp_path / "file" / "a"),
    ):
        pass


def test_what_is_written_for_long_is_written_out_meanwhile(tmp_path, monkeypatch):
    """Whether the system does as it is asked cannot be seen from here."""
    asked = threading.Event()

    def refuse(*_):
        asked.set()
        raise OSError(errno.ESPIPE, "not here")

    monkeypatch.setattr("os.posix_fadvise", refuse)
    with write_whole(tmp_path / "a", aside=tmp_path / "b") as file:
        file.write(b"new")
        assert asked.wait(30)
        assert (tmp_path / "b").exists()

    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_pieces_stand_in_their_order(tmp_path):
    pieces = [bytes([number]) * number for number in range(50)]
    with write_whole(tmp_path / "a") as file:
        write_pieces(file, iter(pieces))

    assert (tmp_path / "a").read_bytes() == b"".join(pieces)


@pytest.mark.parametrize("count", [1, 9])
def test_a_piece_that_cannot_be_written_is_the_machines_fault(tmp_path, count):
    with (
        pytest.raises(PlatformError, match="No space left on device"),
        write_whole(tmp_path / "a"),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        write_pieces(full, [b"piece"] * count)

    assert list(tmp_path.iterdir()) == []


def test_a_piece_that_cannot_be_made_ends_the_writing(tmp_path):
    def pieces():
        yield b"piece"
        raise KeyError

    with pytest.raises(KeyError), write_whole(tmp_path / "a") as file:
        write_pieces(file, pieces())

    assert list(tmp_path.iterdir()) == []
