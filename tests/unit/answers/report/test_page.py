"""The plots and the page; what they look like was looked at, what they hold is tested."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from fm_algo.answers.report import plots
from fm_algo.answers.report.data import Curve, Learnt, ReportData, Scored
from fm_algo.answers.report.page import make_page
from fm_algo.answers.report.theme import draw
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch

RANDOM = np.random.default_rng(0)
SCORES = RANDOM.random(300).astype(np.float32)
CLASSES = (RANDOM.random(300) < SCORES).astype(np.float32)


def learnt(feature_dim=6):
    random = np.random.default_rng(0)  # the same whatever tests have run before
    rows = CSRBatch.of(random.integers(0, 2, (50, feature_dim)), np.zeros(50))
    w, V = random.normal(size=(2, feature_dim)).astype(np.float32)
    model = FMModel("regressor", w[:1], w, np.stack([w, V], axis=1))
    return Learnt.of(model, rows, np.array([0, 3]))


def data_of(**changes):
    given = {
        "title": "A <model>",
        "is_classifier": False,
        "verdict": "It is good & well.",
        "notes": ["3 features never occur."],
        "figures": {"rmse": "0.89"},
        "tables": {"Hyperparameters": {"epochs": "3"}},
        "details": {"The rest": {"seed": "0"}},
        "curve": Curve("rmse", [0, 1], [2.0, 1.0], [2.5, 1.5], best_epoch=1),
        "scored": Scored("validation", SCORES, CLASSES),
        "train_labels": CLASSES,
        "learnt": learnt(),
    }
    return ReportData(**given | changes)


def svgs(page):
    found = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    return [ElementTree.fromstring(svg) for svg in found]  # noqa: S314 - our own


def texts(page):
    return {
        text.text for svg in svgs(page) for text in svg.iter("{http://www.w3.org/2000/svg}text")
    }


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.names, self.addresses = set(), []

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.addresses += [
            value for name, value in attrs if name in ("src", "href") and not value.startswith("#")
        ]


def test_the_page_is_one_file_without_script():
    page = make_page(data_of())
    tags = Tags()
    tags.feed(page)

    assert tags.names.isdisjoint({"script", "link", "img", "iframe"})
    assert tags.addresses == []
    assert "@import" not in page
    assert re.findall(r'[\s"]on[a-z]+=', page) == []
    assert "A &lt;model&gt;" in page
    assert "It is good &amp; well." in page


def test_the_plots_of_a_regressor():
    titles = texts(make_page(data_of()))

    assert {
        "Learning curve: rmse",
        "Residuals",
        "Distribution of scores",
        "Largest linear weights",
        "Largest pairs",
        "Map of the factors",
        "Labels",
    } <= titles
    assert "ROC curve" not in titles
    assert {"from feature 0 on", "from feature 3 on"} <= titles


def test_the_plots_of_a_classifier():
    scored = Scored("test", SCORES, CLASSES, area=0.8)
    titles = texts(make_page(data_of(is_classifier=True, scored=scored)))

    assert {"Calibration", "ROC curve", "Precision and recall", "area 0.800"} <= titles
    assert "Residuals" not in titles


def test_one_class_has_no_roc_curve():
    scored = Scored("test", SCORES, np.ones_like(SCORES))
    titles = texts(make_page(data_of(is_classifier=True, scored=scored)))

    assert "Calibration" in titles
    assert "ROC curve" not in titles


def test_nothing_to_plot_is_no_plot():
    page = make_page(ReportData(title="empty", is_classifier=False))

    assert svgs(page) == []


def test_features_have_the_names_that_are_given():
    page = make_page(data_of(feature_name="user<{}> $x$".format))

    assert "user<3> $x$" in texts(page)
    assert "user<0> $x$ × user<1> $x$" in texts(page)


@pytest.mark.parametrize("best", [None, 0])
def test_a_single_epoch_is_a_curve(best):
    page = make_page(data_of(curve=Curve("rmse", [0], [1.0], best_epoch=best)))

    assert "Learning curve: rmse" in texts(page)


def test_all_colours_follow_the_readers_theme():
    page = make_page(data_of())
    inside = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))

    assert "prefers-color-scheme:dark" in page
    assert re.findall(r"#[0-9a-f]{6}", inside) == []
    for number in set(re.findall(r"var\(--c(\d+)\)", page)):
        assert page.count(f"--c{number}:") == 2


def test_the_same_data_makes_the_same_page():
    assert make_page(data_of(learnt=None)) == make_page(data_of(learnt=None))


def test_a_plot_draws_into_axes_that_are_given():
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()

    assert plots.residuals(SCORES, CLASSES, ax=ax) is ax
    assert plots.factor_map(RANDOM.normal(size=(9, 2)), ax=ax) is ax
    assert ax.get_title(loc="center") == "Map of the factors"


def test_of_many_fields_the_largest_have_colours():
    from matplotlib.figure import Figure

    places = RANDOM.normal(size=(100, 2))
    fields = np.repeat(np.arange(20), [30, 20, 10, 10, 10, *[1] * 10, *[2] * 5])

    def labels(fields):
        ax = plots.factor_map(places, fields=fields.astype(np.int32), ax=Figure().add_subplot())
        return [text.get_text() for text in ax.get_legend().get_texts()] if ax.get_legend() else []

    assert labels(fields) == ["others", *(f"field {number}" for number in range(5))]
    assert labels(np.arange(100)) == []
    assert labels(np.zeros(100)) == []


def test_scores_out_of_bounds_are_drawn():
    wild = np.array([-3e38, 0, 3e38], np.float32)

    assert "<svg" in draw(lambda: plots.residuals(wild, np.zeros(3, np.float32)))
    assert "<svg" in draw(
        lambda: plots.score_distribution(wild, np.zeros(3, np.float32), is_classifier=False)
    )


def test_matplotlib_is_loaded_only_to_draw():
    code = "import fm_algo.answers.report.page, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert {name for name in done.stdout.split() if name.startswith("matplotlib")} == set()
