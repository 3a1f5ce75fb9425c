import subprocess
import sys

import numpy as np
import pytest

from fm_algo.data.bulk import warm_up
from fm_algo.data.bulk.csv import BulkCSVDecoder
from fm_algo.data.bulk.factory import make_bulk_decoder
from fm_algo.data.bulk.frame import append_rows
from fm_algo.data.bulk.libsvm import BulkLibFFMDecoder, BulkLibSVMDecoder
from fm_algo.data.bulk.recordio import BulkRecordIODecoder
from fm_algo.data.fields import LearntFields
from fm_algo.data.formats.content_type import parse_content_type
from fm_algo.data.formats.jsonio import JSONLinesDecoder
from fm_algo.data.formats.record_rows import encode_dense_rows, encode_sparse_rows
from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("application/x-recordio-protobuf", BulkRecordIODecoder),
        ("text/csv;label_size=1", BulkCSVDecoder),
        ("text/x-libsvm", BulkLibSVMDecoder),
        ("text/x-libffm", BulkLibFFMDecoder),
        ("application/jsonlines", JSONLinesDecoder),
    ],
)
def test_each_type_of_rows_has_a_decoder(text, kind):
    decoder = make_bulk_decoder(parse_content_type(text), feature_dim=2)
    assert type(decoder) is kind
    batch = decoder.close()
    assert (batch.num_rows, batch.feature_dim) == (0, 2)
    assert batch.labels is not None


@pytest.mark.parametrize("text", ["text/libsvm;index_base=1", "text/libsvm"])
def test_parameters_reach_the_decoder(text):
    decoder = make_bulk_decoder(parse_content_type(text), feature_dim=2)
    assert decoder.feed(b"1 1:1\n").indices.tolist() == [0 if "=1" in text else 1]


def test_fields_reach_the_decoder():
    fields = LearntFields(2)
    content_type = parse_content_type("text/libffm")
    make_bulk_decoder(content_type, feature_dim=2, fields=fields).feed(b"1 7:1:1\n")
    assert fields.table.tolist() == [-1, 7]


def test_labels_may_be_unwanted():
    decoder = make_bulk_decoder(
        parse_content_type("text/csv;label_size=1"), feature_dim=1, labelled=False
    )
    assert decoder.feed(b"7,1\n").labels is None


@pytest.mark.parametrize(("text", "status"), [("image/png", 415), ("text/csv;label_size=2", 400)])
def test_what_has_no_rows_is_refused_as_by_the_plain_factory(text, status):
    with pytest.raises(UserError) as caught:
        make_bulk_decoder(parse_content_type(text), feature_dim=2)
    assert caught.value.http_status == status


def test_a_warm_up_compiles_all_there_is_to_compile():
    warm_up.main()
    compiled = list(append_rows.signatures)
    rows = CSRBatch(
        np.array([0, 1]), np.array([1]), np.ones(1), np.ones(1, np.float32), feature_dim=2
    )
    records = [*encode_sparse_rows(rows), *encode_dense_rows(np.eye(2), rows.labels.repeat(2))]
    for labelled in (True, False):
        for text, data in {
            "application/x-recordio-protobuf": b"".join(records),
            "text/csv;label_size=1": b"1,2,3\n",
            "text/libsvm": b"1 0:1\n",
            "text/libffm": b"1 0:0:1\n",
        }.items():
            decoder = make_bulk_decoder(parse_content_type(text), feature_dim=2, labelled=labelled)
            decoder.feed(data)
    assert list(append_rows.signatures) == compiled
    assert len(compiled) == 3  # one per format; libsvm and libffm share theirs


def test_what_a_warm_up_compiled_is_read_from_disk_by_the_next_process(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    script = (
        "from fm_algo.data.bulk import warm_up\n"
        "from fm_algo.data.bulk.frame import append_rows\n"
        "warm_up.main()\n"
        "stats = append_rows.stats\n"
        "print(stats.cache_hits.total(), stats.cache_misses.total())"
    )
    counts = [
        subprocess.run(
            [sys.executable, "-c", script],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        for _ in range(2)
    ]
    assert counts == [["0", "3"], ["3", "0"]]
