import dataclasses

import numpy as np
import pytest
from werkzeug.exceptions import InternalServerError

from container.serving.model_registry import ModelRegistry
from container.serving.served import ModelsByName, OneModel
from fm_algo.artifacts.artifact import save_model
from fm_algo.data.tables.tables import Tables
from fm_algo.errors import UserError
from fm_algo.model import FMModel


def model_of(bias):
    zeros = np.zeros(1, np.float32)
    return FMModel("regressor", np.array([bias], np.float32), zeros, np.zeros((1, 1), np.float32))


@pytest.fixture
def registry(tmp_path):
    return ModelRegistry(tmp_path)


def test_one_model_is_found_at_its_path_alone():
    model = model_of(1)
    served = OneModel(model)

    name, borrowed = served.find("/invocations")
    with borrowed as found:
        assert (name, found) == ("", model)
    assert served.find("/invocations/") is None
    assert served.find("/models/a/invoke") is None
    assert served.ping().status == 200


def test_no_model_is_unhealthy_and_each_invocation_says_why():
    served = OneModel(None, reason="there is no file")

    reply = served.ping()
    assert (reply.status, b"".join(reply.body)) == (503, b"there is no file")
    _, borrowed = served.find("/invocations")
    with pytest.raises(InternalServerError, match="there is no file"), borrowed:
        pass


@pytest.mark.parametrize("name", ["a", "a/b", "invoke", "caf\xe9", "a/invoke"])
def test_a_model_is_found_by_its_name_as_wsgi_spells_it(registry, tmp_path, name):
    save_model(tmp_path, model_of(2), {})
    registry.load(name, str(tmp_path))

    found, borrowed = ModelsByName(registry).find(
        f"/models/{name}/invoke".encode().decode("latin-1")
    )

    assert found == name
    with borrowed as model:
        assert model.w0[0] == 2


def test_samples_are_counted_by_the_path_as_http_spells_it(registry, tmp_path):
    sampled = dataclasses.replace(model_of(1), samples=(model_of(2),) * 3)
    save_model(tmp_path, sampled, {})
    registry.load("caf\xe9/b", str(tmp_path))
    served = ModelsByName(registry)

    assert served.num_samples(b"/models/caf%C3%A9%2Fb/invoke") == 3
    assert served.num_samples(b"/models/other/invoke") == 0
    assert served.num_samples(b"/models") == 0
    assert OneModel(sampled).num_samples(b"/invocations") == 3
    assert OneModel(model_of(1)).num_samples(b"/invocations") == 0
    assert OneModel(None).num_samples(b"/invocations") == 0


def test_a_row_by_name_has_the_features_of_its_columns(registry, tmp_path, table_encoder):
    zeros = np.zeros((11, 2), np.float32)
    model = FMModel("regressor", zeros[0, :1], zeros[:, 0], zeros)
    save_model(tmp_path, model, {}, tables=Tables(table_encoder))
    registry.load("t", str(tmp_path))

    # Two columns of the rows, and one entry per row of the items table, on average.
    assert ModelsByName(registry).row_width(b"/models/t/invoke") == 3
    assert ModelsByName(registry).row_width(b"/models/other/invoke") == 0
    assert OneModel(model).row_width(b"/invocations") == OneModel(None).row_width(b"") == 0


@pytest.mark.parametrize(
    "path", ["/invocations", "/models", "/models/a", "/models//invoke", "/models/invoke"]
)
def test_other_paths_invoke_no_model(registry, path):
    assert ModelsByName(registry).find(path) is None


def test_that_a_model_is_not_loaded_is_seen_by_who_borrows_it(registry):
    served = ModelsByName(registry)
    assert served.ping().status == 200

    _, borrowed = served.find("/models/a/invoke")
    with pytest.raises(UserError, match="'a' is not loaded"), borrowed:
        pass
