import contextlib
import gzip
import io
import tarfile
import tracemalloc
import zipfile

import pytest

from fm_algo.artifacts import archive as archive_module
from fm_algo.artifacts.archive import pack_tar, read_zip, unpack_tar, write_zip
from fm_algo.errors import UserError


def make_zip(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def make_tar(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def everything(_name):
    return True


@pytest.fixture
def small_limit(monkeypatch):
    """1 GiB takes too long to fill."""
    monkeypatch.setattr(archive_module, "_GIBIBYTE", 1 << 16)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_asked_for_are_read(method, tmp_path):
    path = make_zip(tmp_path / "a.zip", {"a": b"1" * 3_000_000, "b": b"", "c": b"3"}, method)

    assert read_zip(path, ["a", "b", "d"]) == {"a": b"1" * 3_000_000, "b": b""}


def test_what_is_written_is_stored_and_read_again(tmp_path):
    path = tmp_path / "a.zip"
    with path.open("wb") as file:
        write_zip(file, {"a": [memoryview(b"12"), memoryview(b"3")], "b": []})

    with zipfile.ZipFile(path) as opened:
        assert {info.compress_type for info in opened.infolist()} == {zipfile.ZIP_STORED}
    assert read_zip(path, ["a", "b"]) == {"a": b"123", "b": b""}


def test_a_zip_with_64_bit_sizes_is_announced_as_one():
    """4 GiB that are no memory: the file takes note of lengths and forgets the bytes."""

    class Forgetful(io.RawIOBase):
        def __init__(self):
            self.start, self.position = b"", 0

        def write(self, data):
            if self.position < 64:
                self.start += bytes(data[:64])
            self.position += len(data)
            return len(data)

        def tell(self):
            return self.position

        def seek(self, position, _whence=0):
            self.position = position
            return position

        def seekable(self):
            return True

    file = Forgetful()
    piece = memoryview(bytes(1 << 20))
    write_zip(file, {"params": [piece] * 2049})

    version_needed = int.from_bytes(file.start[4:6], "little")
    assert version_needed == zipfile.ZIP64_VERSION


def test_a_damaged_member_is_refused(tmp_path):
    path = make_zip(tmp_path / "a.zip", {"a": b"abcdef"}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"abcdef", b"abcxef"))

    with pytest.raises(UserError, match="not a ZIP archive that can be read: Bad CRC-32"):
        read_zip(path, ["a"])


def test_an_encrypted_member_is_refused(tmp_path):
    path = make_zip(tmp_path / "a.zip", {"a": b"abc"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)

    with pytest.raises(UserError) as error:
        read_zip(path, ["a"])

    assert error.value.message == f"{path}, member a: encrypted, allowed is plain"


def test_another_compression_is_refused(tmp_path):
    path = make_zip(tmp_path / "a.zip", {"a": b"abc"}, zipfile.ZIP_BZIP2)

    with pytest.raises(UserError) as error:
        read_zip(path, ["a"])

    assert error.value.message == (
        f"{path}, member a: compression method 12, allowed are 0 (stored) and 8 (deflated)"
    )


def test_a_member_that_says_it_is_a_bomb_is_refused(small_limit, tmp_path):
    path = make_zip(tmp_path / "a.zip", {"a": bytes(1 << 20)})

    with pytest.raises(UserError, match="member a: 1048576 bytes announced, allowed are"):
        read_zip(path, ["a"])


def test_a_member_that_hides_that_it_is_a_bomb_is_not_inflated(tmp_path):
    """Announced with 10 bytes, it has 100 MB: 10 are read, and their checksum is wrong."""
    path = make_zip(tmp_path / "a.zip", {"a": bytes(100 << 20)})
    data = path.read_bytes()
    for magic, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = data.index(magic) + offset
        data = data[:place] + (10).to_bytes(4, "little") + data[place + 4 :]
    path.write_bytes(data)

    tracemalloc.start()
    with pytest.raises(UserError, match="not a ZIP archive that can be read"):
        read_zip(path, ["a"])
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most_bytes < 16 << 20


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_files_asked_for_are_unpacked_whatever_directory_they_are_in(mode, tmp_path):
    path = make_tar(
        tmp_path / "a.tar", [("./model", b"1"), ("x/y/params", b"2"), ("other", b"3")], mode
    )
    target = tmp_path / "target"
    target.mkdir()

    unpack_tar(path, target, {"model", "params"}.__contains__)

    assert {file.name: file.read_bytes() for file in target.iterdir()} == {
        "model": b"1",
        "params": b"2",
    }


def test_no_path_in_an_archive_leads_out_of_the_directory(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for kind, name in (
            (tarfile.REGTYPE, "../up"),
            (tarfile.REGTYPE, "/root"),
            (tarfile.SYMTYPE, "symbolic"),
            (tarfile.LNKTYPE, "hard"),
            (tarfile.CHRTYPE, "device"),
            (tarfile.FIFOTYPE, "fifo"),
            (tarfile.DIRTYPE, "directory"),
        ):
            member = tarfile.TarInfo(name)
            member.type = kind
            member.linkname = "/etc/passwd"
            archive.addfile(member)

    unpack_tar(path, target, everything)

    assert sorted(file.name for file in target.iterdir()) == ["root", "up"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.tar", "target"]


@pytest.mark.parametrize("name", ["..", ".", "x/", ""])
def test_a_name_that_is_none_is_an_error_or_passed_over(name, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    path = make_tar(tmp_path / "a.tar", [(name, b"")])

    with contextlib.suppress(UserError):
        unpack_tar(path, target, everything)
    assert list(target.iterdir()) == []


def test_a_file_that_is_there_twice_is_refused(tmp_path):
    path = make_tar(tmp_path / "a.tar", [("params", b"1"), ("x/params", b"2")])

    with pytest.raises(UserError) as error:
        unpack_tar(path, tmp_path, everything)

    assert error.value.message == f"{path}, params is there twice, allowed is one"


def test_a_tar_that_unpacks_to_too_much_is_refused(small_limit, tmp_path):
    path = make_tar(tmp_path / "a.tar.gz", [("other", bytes(10 << 20))])

    with pytest.raises(UserError, match="unpacked it is more than the"):
        unpack_tar(path, tmp_path, everything)


def test_a_damaged_end_of_the_gzip_stream_is_refused(tmp_path):
    path = make_tar(tmp_path / "a.tar.gz", [("other", b"1")])
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))

    with pytest.raises(UserError, match="CRC check failed"):
        unpack_tar(path, tmp_path, {"x"}.__contains__)


def test_a_header_that_asks_for_memory_does_not_get_it(small_limit, tmp_path):
    """A pax header, which a reader must hold as a whole, of 8 GiB."""
    member = tarfile.TarInfo("pax")
    member.type = tarfile.XHDTYPE
    member.size = 8 << 30
    path = tmp_path / "a.tar.gz"
    with gzip.open(path, "wb") as file:
        file.write(member.tobuf(tarfile.GNU_FORMAT))
        file.write(bytes(10 << 20))

    with pytest.raises(UserError, match="unpacked it is more than"):
        unpack_tar(path, tmp_path, everything)


def test_more_members_than_any_model_has_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(archive_module, "_MAX_MEMBERS", 3)
    path = make_tar(tmp_path / "a.tar", [("other", b"")] * 4)

    with pytest.raises(UserError, match="more than 3 members"):
        unpack_tar(path, tmp_path, {"x"}.__contains__)


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", b"\x1f\x8bxxxxxxxxxxxxxx", b"x" * 2000])
def test_what_is_no_tar_archive_is_refused(content, tmp_path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(content)

    with pytest.raises(UserError, match="is not a tar archive that can be read"):
        unpack_tar(path, tmp_path, everything)


def test_a_directory_is_packed_as_sagemaker_does_and_always_into_the_same_bytes(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "b").write_bytes(b"2")
    (source / "a").write_bytes(b"1" * 100_000)
    path = tmp_path / "model.tar.gz"

    pack_tar(source, path)
    once = path.read_bytes()
    pack_tar(source, path)

    assert path.read_bytes() == once
    assert once[4:8] == bytes(4)  # the time, in gzip's header
    with tarfile.open(path, "r:gz") as archive:
        members = archive.getmembers()
    assert [(member.name, member.size) for member in members] == [("a", 100_000), ("b", 1)]
    assert {(member.mode, member.uid, member.gid) for member in members} == {(0o644, 0, 0)}
