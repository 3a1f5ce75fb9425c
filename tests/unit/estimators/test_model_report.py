"""What an estimator shows of its model."""

import numpy as np
import pandas as pd
import pytest

from fm_algo import FMClassifier, FMRegressor, load_model
from fm_algo.errors import UserError


def make_rows(num_rows=300, seed=0):
    random = np.random.default_rng(seed)
    users, items = random.integers(0, 9, num_rows), random.integers(0, 7, num_rows)
    rating = users + items + random.normal(0, 0.1, num_rows)
    return pd.DataFrame(
        {"user": [f"u{n}" for n in users], "item": [f"i{n}" for n in items], "rating": rating}
    )


COLUMNS = {"rating": "label", "user": "category", "item": "category"}


@pytest.fixture(scope="module")
def model():
    return FMRegressor(columns=COLUMNS, num_factors=2, epochs=20).fit(make_rows())


def test_a_report_shows_the_course_the_rows_and_the_names(model, tmp_path):
    report = model.report(make_rows(seed=1))

    assert report.verdict.startswith("the model is better than a constant: rmse 0.")
    assert " on 300 given rows" in report.verdict
    assert len(report.metrics["epochs"]) == 20
    assert report.metrics["data"]["num_rows"] == 300
    for title in ("Learning curve: rmse", "Residuals", "Largest pairs", "user=u8"):
        assert title in report.page
    assert "<script" not in report.page
    report.save(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == report.page
    shown = report._repr_html_()
    assert shown.startswith("<iframe")
    assert "<h1>" not in shown, "the page is quoted, so that its styles stay its own"


def test_a_loaded_model_reports_without_its_course(model, tmp_path):
    model.save(tmp_path)
    report = load_model(tmp_path).report(make_rows(seed=1))

    assert report.verdict == model.report(make_rows(seed=1)).verdict
    assert report.metrics["epochs"] == []
    assert "Learning curve" not in report.page


def test_a_classifier_is_judged_by_its_own_labels():
    rows = make_rows()
    liked = np.where(rows["rating"] > 7, "good", "bad")
    X = np.stack([rows["user"].str[1:].astype(float), rows["item"].str[1:].astype(float)], axis=1)
    report = FMClassifier(num_factors=2, epochs=20).fit(X, liked).report(X, liked)

    assert "ROC curve" in report.page
    assert "better than a constant: binary_classification_cross_entropy" in report.verdict


def test_what_is_no_good_is_said(model):
    rows = make_rows()
    constant = FMRegressor(optimizer="sgd", linear_lr=0.0, factors_lr=0.0, bias_lr=0.0)
    report = constant.fit(np.eye(300)[:, :20], rows["rating"]).report(
        np.eye(300)[:, :20], rows["rating"]
    )

    assert report.verdict.startswith("the model is no better than a constant: ")
    assert "bias_init_method=mean" in report.verdict
    with pytest.raises(UserError, match="no column item"):
        model.report(rows.drop(columns="item"))
