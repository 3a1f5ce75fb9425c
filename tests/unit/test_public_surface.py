"""What the README and the docs promise can be imported and is documented."""

import importlib.resources
import inspect
import re
import subprocess
import sys

import pytest

import fm_algo

PUBLIC = {
    "fm_algo": [
        "FMClassifier",
        "FMRanker",
        "FMRegressor",
        "load_model",
        "read_recordio",
        "write_recordio",
    ],
    "fm_algo.answers.report.page": ["make_page"],
    "fm_algo.answers.report.plots": [
        "calibration",
        "factor_map",
        "label_distribution",
        "largest_parts",
        "learning_curve",
        "precision_recall",
        "residuals",
        "roc",
        "score_distribution",
    ],
    "fm_algo.answers.uncertainty": ["score_uncertainty"],
    "fm_algo.artifacts.artifact": ["load_model", "save_model"],
    "fm_algo.artifacts.builtin.artifact": ["load_builtin_model", "save_builtin_model"],
    "fm_algo.artifacts.model_source": ["load_any_model", "read_any_model"],
    "fm_algo.data.formats.content_type": ["parse_content_type"],
    "fm_algo.data.formats.factory": ["make_decoder"],
    "fm_algo.data.formats.predictions": ["encode_jsonlines"],
    "fm_algo.errors": ["AlgorithmError", "FMError", "PlatformError", "UserError"],
    "fm_algo.hyperparameters": ["Hyperparameters", "parse_hyperparameters"],
    "fm_algo.model": ["FMModel"],
    "fm_algo.sparse": ["CSRBatch"],
    "fm_algo.training.initialization": ["draw_initial"],
    "fm_algo.training.rows": ["Rows"],
    "fm_algo.training.select": ["make_learner"],
    "fm_algo.training.trainer": ["train"],
}
NAMES = [(module, name) for module, names in PUBLIC.items() for name in names]


def test_the_face_of_the_library_is_what_it_says():
    assert fm_algo.__all__ == PUBLIC["fm_algo"]
    for name in fm_algo.__all__:
        assert f"    {name}(" in fm_algo.__doc__


def test_the_face_names_modules_that_are_there():
    told = re.findall(r"^    (fm_algo\.[\w.]+) +(.*)$", fm_algo.__doc__, re.MULTILINE)

    assert len(told) >= 6
    for module, text in told:
        promised = importlib.import_module(module)
        mentioned = re.findall(r"\b(?:[A-Z]+[a-z]\w+|[a-z]+_\w+)", text)
        assert [name for name in mentioned if not hasattr(promised, name)] == []
        if module in PUBLIC:
            assert set(mentioned) & set(PUBLIC[module])


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_a_public_name_is_there_and_documented(module, name):
    thing = getattr(importlib.import_module(module), name)
    members = vars(thing) if inspect.isclass(thing) else {}
    methods = [getattr(thing, each) for each in members if not each.startswith("_")]

    assert thing.__doc__
    undocumented = [each for each in methods if callable(each) and not each.__doc__]
    assert undocumented == []


def test_models_and_rows_are_imported_without_what_training_needs():
    of_models = [module for module in PUBLIC if not module.startswith("fm_algo.training")]
    code = f"import {', '.join(of_models)}, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = set(done.stdout.split())
    assert set(of_models) <= loaded
    assert loaded & {"scipy", "numba", "torch", "triton", "boto3", "flask", "container"} == set()


def test_imports_in_the_docs_are_of_public_names(root):
    pages = [root / "README.md", *root.glob("docs/*.md")]
    text = "\n".join(page.read_text() for page in pages)
    imported = re.findall(r"^ *from (fm_algo[\w.]*) import (.+)$", text, re.MULTILINE)

    names = [(module, name) for module, names in imported for name in names.split(", ")]
    assert len(names) >= 4
    assert [each for each in names if each not in NAMES] == []


def test_types_travel_with_the_package():
    assert (importlib.resources.files("fm_algo") / "py.typed").is_file()
