import pytest

from deploy.aws.uploads import plan_upload
from fm_algo.errors import UserError


def test_a_file_becomes_a_prefix_of_one(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("1,2")
    upload = plan_upload(path, "bucket", "data")
    assert upload.uri.startswith("s3://bucket/data/")
    assert upload.files == ((path, f"{upload.prefix}rows.csv"),)


def test_the_same_content_has_the_same_prefix_elsewhere(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows.csv").write_text("1,2")
    first, second = (plan_upload(tmp_path / name, "bucket", "data") for name in ("a", "b"))
    assert first.uri == second.uri


@pytest.mark.parametrize(("name", "text"), [("rows.csv", "1,3"), ("other.csv", "1,2")])
def test_another_content_or_name_has_another_prefix(tmp_path, name, text):
    for folder, file, content in (("a", "rows.csv", "1,2"), ("b", name, text)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text(content)
    first, second = (plan_upload(tmp_path / folder, "bucket", "data") for folder in ("a", "b"))
    assert first.uri != second.uri


@pytest.mark.parametrize("name", [".hidden", "_SUCCESS", ".git/config", "empty"])
def test_hidden_and_empty_files_are_not_data(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("" if name == "empty" else "x")
    with pytest.raises(UserError, match="holds no file to upload"):
        plan_upload(tmp_path, "bucket", "data")
