"""What proves and measures the GPU kernels on a card works, so that no card is lent in vain."""

import importlib.util
import os
import subprocess
import sys

import pytest


def test_it_tries_itself_where_there_is_no_card(root, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("NOT RUN: with a card it takes minutes; run benchmarks/gpu_check.sh")
    written = tmp_path / "found" / "gpu.md"
    done = subprocess.run(
        [root / "benchmarks" / "gpu_check.sh", written],
        env=os.environ | {"PYTHON": sys.executable},  # noqa: TID251 - of the script's own processes
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = written.read_text()
    assert text.startswith("## How fast is it on a GPU?\n")
    assert "`benchmarks/gpu_check.sh` on Triton's interpreter, torch " in text
    assert " skipped, " in text  # of the tests that want a card
    assert "Not finished" not in text
    for row in (
        "| rowwise_adagrad, field_weighted |",
        "| this library, adam, weights of 39 fields | 2 |",
        "| torch, SparseAdam | 2 |",
        "| adam, field_weighted | GPU |",
    ):
        assert row in text


def test_what_is_missing_is_said(root):
    spec = importlib.util.spec_from_file_location("gpu_report", root / "benchmarks/gpu_report.py")
    gpu_report = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gpu_report)

    copy = {"what": "copy", "gb_per_second": 3.5, "card": "X", "torch": "2", "commit": "abc"}
    text = gpu_report.report([copy], "== 48 passed in 90.00s ==\n")
    assert "`benchmarks/gpu_check.sh` on X, torch 2, commit abc." in text
    assert "The tests that want a card: 48 passed in 90.00s." in text
    assert "The card copies 3.5 GB/s" in text
    for what in ("check", "epoch", "trajectory"):
        assert f"Not finished: {what}." in text
    assert "The tests that want a card: not finished." in gpu_report.report([], "")
