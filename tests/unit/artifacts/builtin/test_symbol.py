import json
import zipfile
from pathlib import Path

import pytest

from fm_algo.artifacts.builtin.symbol import decode_predictor_type, encode_symbol
from fm_algo.errors import UserError
from fm_algo.hyperparameters import parse_hyperparameters

DATA = Path(__file__).parents[3] / "data" / "builtin"


def symbol(**hyperparameters):
    sizes = {"feature_dim": "30", "num_factors": "4", "predictor_type": "regressor"}
    return encode_symbol(parse_hyperparameters(sizes | hyperparameters))


@pytest.mark.parametrize(
    ("folder", "predictor_type"),
    [("regression-k4-d30", "regressor"), ("binary-k8-d100", "binary_classifier")],
)
def test_the_last_operator_tells_the_predictor_type(folder, predictor_type, mxnet_models):
    with zipfile.ZipFile(mxnet_models / folder / "model_algo-1") as archive:
        data = archive.read("symbol.json")

    assert decode_predictor_type(data) == predictor_type
    assert decode_predictor_type(symbol(predictor_type=predictor_type)) == predictor_type


def test_the_network_is_laid_out_as_mxnet_does(mxnet_models):
    """Names of unnamed operators and the version alone differ from run to run of MXNet."""
    with zipfile.ZipFile(mxnet_models / "regression-k4-d30" / "model_algo-1") as archive:
        theirs = archive.read("symbol.json").decode()
    ours = symbol().decode()
    for old, new in (
        ('"broadcast_add0"', '"broadcast_plus0"'),
        ('"square1"', '"Square"'),
        ('"square0"', '"x_square"'),
        ("10901", "10301"),
    ):
        theirs = theirs.replace(old, new)

    assert ours == theirs


def test_the_parameters_say_how_training_was_set_up():
    nodes = json.loads(
        symbol(
            bias_lr="0.5",
            linear_init_method="uniform",
            linear_init_scale="0.25",
            factors_init_method="constant",
            factors_init_value="2",
            factors_wd="1e-7",
        )
    )["nodes"]
    attrs = {node["name"]: node.get("attrs") for node in nodes}

    assert attrs["w0_weight"] == {
        "__init__": '["normal", {"sigma": 0.01}]',
        "__lr_mult__": "0.5",
        "__shape__": "(1,)",
        "__wd_mult__": "0.01",
    }
    assert attrs["w1_weight"]["__init__"] == '["uniform", {"scale": 0.25}]'
    assert attrs["w1_weight"]["__shape__"] == "(30, 1)"
    assert attrs["v"]["__init__"] == '["constant", {"value": 2.0}]'
    assert attrs["v"]["__wd_mult__"] == "1e-07"
    assert attrs["v"]["__shape__"] == "(30, 4)"


def test_an_initial_value_that_mxnet_does_not_know_is_told_as_its_default():
    assert symbol(bias_init_method="mean") == symbol()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "symbol.json cannot be read: "),
        (b"{}", "symbol.json cannot be read: "),
        (b'{"nodes": [' * 100_000, "symbol.json cannot be read: "),
        (b'{"nodes": [{"op": "\xff"}]}', "symbol.json cannot be read: "),
        (b'{"nodes": []}', "symbol.json ends in operator None, allowed are LinearRegression"),
        (b'{"nodes": [{"op": "dot"}]}', "symbol.json ends in operator dot, allowed are Linear"),
    ],
)
def test_another_file_is_refused(data, message):
    with pytest.raises(UserError) as error:
        decode_predictor_type(data)

    assert error.value.message.startswith(message)
