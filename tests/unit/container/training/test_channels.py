import gzip
from pathlib import Path

import numpy as np
import pytest

from container.settings import Paths
from container.training import channels
from container.training.channels import read_channel
from container.training.job import Channel, Resources, TrainingJob
from fm_algo import write_recordio
from fm_algo.errors import PlatformError, UserError
from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.sparse import CSRBatch

DAMAGED = gzip.compress(b"1,0,0\n" * 1000)


@pytest.fixture
def directory(tmp_path) -> Path:
    """The train channel's."""
    path = tmp_path / "input" / "data" / "train"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def read(tmp_path):
    """Read the train channel as one batch."""

    def read_all(content_type="text/csv", predictor_type="regressor"):
        return CSRBatch.join(list(stream(tmp_path, content_type, predictor_type)))

    return read_all


def stream(base, content_type="text/csv", predictor_type="regressor"):
    job = TrainingJob(
        hyperparameters=parse_hyperparameters(
            {"feature_dim": 2, "num_factors": 1, "predictor_type": predictor_type}
        ),
        channels={"train": Channel(content_type=content_type)},
        resources=Resources(),
    )
    return read_channel(Paths(base), job, "train")


def write(directory, **files):
    """Write files; `a__b` stands for b in the folder a, `a_csv` for a.csv."""
    for name, content in files.items():
        path = directory / name.replace("__", "/").replace("_csv", ".csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_files_are_read_in_the_order_of_their_paths(directory, read):
    write(directory, b_csv=b"2,0,0\n", a_csv=b"1,0,0\n", c__a_csv=b"3,0,0\n", c__b=b"4,0,0")

    assert read().labels.tolist() == [1, 2, 3, 4]


def test_names_and_endings_do_not_matter(directory, read):
    (directory / "part-00000").write_bytes(b"1,0,0\n")
    (directory / "data.pbr").write_bytes(b"2,0,0\n")
    (directory / "data with blanks.tar.gz").write_bytes(b"3,0,0\n")

    assert sorted(read().labels.tolist()) == [1, 2, 3]


def test_hidden_and_empty_files_are_passed_over(directory, read):
    write(directory, a_csv=b"1,0,0\n", empty_csv=b"")
    for name in (".hidden", "_SUCCESS", ".folder/data.csv", "_folder/data.csv", "a/.b/c/d.csv"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(b"no rows")

    assert read().labels.tolist() == [1]


def test_a_hidden_folder_above_the_channel_does_not_matter(tmp_path):
    directory = tmp_path / ".hidden" / "_tree" / "input" / "data" / "train"
    directory.mkdir(parents=True)
    write(directory, a_csv=b"1,0,0\n")

    assert next(stream(tmp_path / ".hidden" / "_tree")).num_rows == 1


def test_links_are_followed(directory, tmp_path, read):
    write(tmp_path / "elsewhere", a_csv=b"1,0,0\n", folder__b_csv=b"2,0,0\n")
    (directory / "a.csv").symlink_to(tmp_path / "elsewhere" / "a.csv")
    (directory / "folder").symlink_to(tmp_path / "elsewhere" / "folder")

    assert read().labels.tolist() == [1, 2]


def test_gzip_is_unpacked_whatever_the_name(directory, read):
    packed = gzip.compress(b"1,0,0\n2,0,0\n")
    write(directory, a_csv=packed, b_csv=b"4,0,0\n", c_gz=packed + gzip.compress(b"3,0,0\n"))

    assert read().labels.tolist() == [1, 2, 4, 1, 2, 3]


@pytest.mark.parametrize("content_type", ["text/csv", "TEXT/CSV; label_size=1"])
def test_the_channels_content_type_decides(directory, read, content_type):
    write(directory, a=b"1,0,3\n")
    batch = read(content_type)

    assert (batch.indices.tolist(), batch.values.tolist()) == ([1], [3])


def test_recordio_is_read_packed_or_not(directory, read):
    rows, labels = np.array([[1, 0], [0, 0], [2, 3]], np.float32), [1, 2, 3]
    write_recordio(directory / "a.pbr", rows, labels)
    write(directory, b=gzip.compress((directory / "a.pbr").read_bytes()))
    batch = read("application/x-recordio-protobuf")

    assert batch.labels.tolist() == [1, 2, 3, 1, 2, 3]
    assert np.diff(batch.indptr).tolist() == [1, 0, 2, 1, 0, 2]


@pytest.mark.parametrize("read_bytes", [1, 5, 6, 7])
def test_the_size_of_a_read_does_not_matter(monkeypatch, directory, read, read_bytes):
    write(directory, a=b"1,0,3\n0,4,0\n", b=gzip.compress(b"1,5,5"))
    whole = read(predictor_type="binary_classifier")
    monkeypatch.setattr(channels, "_READ_BYTES", read_bytes)
    pieces = read(predictor_type="binary_classifier")

    for name in ("indptr", "indices", "values", "labels"):
        assert getattr(pieces, name).tolist() == getattr(whole, name).tolist()


def test_the_directory_is_only_read(directory, read):
    write(directory, a=b"1,0,3\n", b=gzip.compress(b"1,5,5"), c__d=b"2,0,0\n")
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    read()

    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*")} == before


@pytest.mark.parametrize("files", [{}, {"a": b"", "b": b""}, {"_SUCCESS": b"x", ".a": b"1,0,0"}])
def test_an_empty_channel_is_refused(directory, read, files):
    for name, content in files.items():
        (directory / name).write_bytes(content)

    with pytest.raises(UserError, match=f"train channel is empty: no rows in 0 .* {directory}"):
        read()


@pytest.mark.parametrize("content", [b"\n", gzip.compress(b"", mtime=0)])
def test_files_without_rows_are_no_data(directory, read, content):
    write(directory, a=content)

    with pytest.raises(UserError, match="train channel is empty: no rows in 1 file"):
        read()


def test_a_channel_without_a_directory_is_refused(read):
    with pytest.raises(PlatformError, match=r"^train channel: .*/input/data/train does not exist"):
        read()


def test_an_error_names_channel_and_file(directory, read):
    write(directory, a_csv=b"1,0,0\n", c__b_csv=b"1,0,0\n2,0\n")

    with pytest.raises(UserError, match=r"^train channel, c/b.csv, line 2: 2 columns, expected 3"):
        read()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_an_error_says_what_to_do_by_how_its_file_begins(directory, read, pack):
    write(directory, a_csv=b"1,0,0\n", b_csv=pack(b"1;0;0\n"))

    with pytest.raises(UserError) as told:
        read()
    assert told.value.message == (
        "train channel, b.csv, line 1: 1 columns, expected 3: 1 label (label_size) and 2 features "
        "(feature_dim); its columns stand between semicolons, those of CSV between commas"
    )


def test_csv_in_a_channel_without_a_type_is_told_its_type(directory, read):
    write(directory, a_csv=b"21.6,0,0\n")

    with pytest.raises(UserError) as told:
        read(Channel().content_type)
    assert told.value.message == (
        "train channel, a.csv, record 0 (byte offset 0): begins with b'21.6', a RecordIO frame "
        "with its magic, b'\\n#\\xd7\\xce': is this RecordIO-protobuf? it looks like CSV: say "
        "ContentType=text/csv"
    )


def test_a_content_type_of_no_rows_is_refused(directory, read):
    write(directory, a=b"x")

    with pytest.raises(UserError, match="content type 'image/png' is not supported, allowed: app"):
        read("image/png")


@pytest.mark.parametrize("read_bytes", [1, 1 << 20])
@pytest.mark.parametrize("label", [b"2", b"-1", b"0.5"])
def test_a_classifier_takes_labels_0_and_1(monkeypatch, directory, read, read_bytes, label):
    monkeypatch.setattr(channels, "_READ_BYTES", read_bytes)
    write(directory, a=b"0,0,0\n1,0,0\n1.0,0,0\n", b=b"1,0,0\n0,0,0\n" + label + b",0,0\n1,0,0\n")

    with pytest.raises(
        UserError,
        match=f"^train channel, b, record 2: label {label.decode()} is not 0 or 1, the labels of a",
    ):
        read(predictor_type="binary_classifier")
    assert read(predictor_type="regressor").num_rows == 7


@pytest.mark.parametrize(
    "content",
    [
        DAMAGED[:-1],
        DAMAGED[:20],
        DAMAGED[:2],
        DAMAGED[:15] + b"xxxx" + DAMAGED[19:],
        DAMAGED + b"x",
    ],
    ids=["truncated at the end", "truncated", "magic alone", "bits changed", "more behind it"],
)
def test_damaged_gzip_is_told(directory, read, content):
    write(directory, a_csv=content)

    with pytest.raises(UserError, match=r"^train channel, a.csv: the gzip data is damaged: "):
        read()


def test_a_file_that_vanishes_is_the_platforms_fault(directory, tmp_path):
    write(directory, a=b"1,0,0\n", b=b"1,0,0\n")
    batches = stream(tmp_path)
    next(batches)
    (directory / "b").unlink()

    with pytest.raises(
        PlatformError, match=r"^train channel, b: .* cannot be read: .*No such file"
    ):
        list(batches)


def test_a_link_to_nowhere_is_not_passed_over(directory, read):
    write(directory, a=b"1,0,0\n")
    (directory / "b").symlink_to(directory / "nowhere")

    with pytest.raises(PlatformError, match=r"^train channel: .* cannot be read: .*train/b"):
        read()


def test_a_folder_that_cannot_be_listed_is_not_passed_over(monkeypatch, directory, read):
    write(directory, a=b"1,0,0\n", b__c=b"1,0,0\n")
    (directory / "b" / "again").symlink_to(directory / "b")  # without end: ELOOP

    with pytest.raises(PlatformError, match="cannot be read: "):
        read()


def test_rows_are_numbered_with_those_of_weight_0(directory, read):
    line = b'{"features": [1, 0], "label": %d, "weight": %d}\n'
    write(directory, a=b"".join(line % (number, number > 0) for number in range(3)))

    with pytest.raises(UserError, match="record 2: label 2 is not 0 or 1"):
        read("application/jsonlines", "binary_classifier")
