"""Write symbol.json, MXNet's description of the network, and read the predictor type from it.

The built-in's network for sparse rows is always the same 19 nodes:

    out = data . w1 + w0 + sum over f of 0.5 (data . v)_f^2 - 0.5 data^2 . (sum over f of v_f^2)

Source: the artifact of a real job of the built-in; `encode_symbol` writes its file byte for byte.
"""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from fm_algo.errors import UserError
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.model import PredictorType

_PREDICTOR_TYPES: dict[str, PredictorType] = {
    "LinearRegressionOutput": "regressor",
    "LogisticRegressionOutput": "binary_classifier",
}
_OPERATORS = {predictor_type: operator for operator, predictor_type in _PREDICTOR_TYPES.items()}
_CSR, _ROW_SPARSE = {"__storage_type__": "2"}, {"__storage_type__": "1"}
_BY_ROW = {"axis": "1", "keepdims": "True"}
_HALF = {"scalar": "0.5"}
_MXNET_VERSION = 10301


class _Node(NamedTuple):
    op: str
    name: str
    inputs: tuple[int, ...] = ()
    attrs: Mapping[str, str] = MappingProxyType({})


class _ReadNode(msgspec.Struct, frozen=True):
    op: str


class _ReadSymbol(msgspec.Struct, frozen=True):
    nodes: list[_ReadNode]


def decode_predictor_type(data: bytes | bytearray) -> PredictorType:
    """Read what the network predicts from its last operator.

    Parameters
    ----------
    data : bytes
        Content of symbol.json.

    Raises
    ------
    UserError
        If it is not such a file, or the last operator is unknown.
    """
    try:
        nodes = msgspec.json.decode(data, type=_ReadSymbol).nodes
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise UserError(f"symbol.json cannot be read: {error}") from error
    operator = nodes[-1].op if nodes else None
    if operator not in _PREDICTOR_TYPES:
        raise UserError(
            f"symbol.json ends in operator {operator}, allowed are {', '.join(_PREDICTOR_TYPES)}"
        )
    return _PREDICTOR_TYPES[operator]


def encode_symbol(hyperparameters: Hyperparameters) -> bytes:
    """Write the network of a model as the built-in does.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        Sizes, predictor_type, and the initial values that MXNet would train from.

    Returns
    -------
    bytes
        Content of symbol.json.
    """
    feature_dim, num_factors = hyperparameters.feature_dim, hyperparameters.num_factors
    w1_attrs = _parameter(hyperparameters, "linear", (feature_dim, 1)) | _ROW_SPARSE
    w0_attrs = _parameter(hyperparameters, "bias", (1,))
    v_attrs = _parameter(hyperparameters, "factors", (feature_dim, num_factors)) | _ROW_SPARSE
    nodes = [
        _Node("null", "data", (), _CSR),
        _Node("null", "w1_weight", (), w1_attrs),
        _Node("dot", "dot0", (0, 1)),
        _Node("null", "w0_weight", (), w0_attrs),
        _Node("broadcast_add", "broadcast_plus0", (2, 3)),
        _Node("null", "v", (), v_attrs),
        _Node("dot", "dot2", (0, 5)),
        _Node("square", "Square", (6,)),
        _Node("_mul_scalar", "_mulscalar0", (7,), _HALF),
        _Node("Concat", "concat0", (4, 8), {"dim": "1", "num_args": "2"}),
        _Node("sum", "sum0", (9,), _BY_ROW),
        _Node("square", "x_square", (0,)),
        _Node("_square_sum", "_square_sum0", (5,), _BY_ROW),
        _Node("dot", "dot1", (11, 12)),
        _Node("negative", "negative0", (13,)),
        _Node("_mul_scalar", "_mulscalar1", (14,), _HALF),
        _Node("elemwise_add", "Final_Summation", (10, 15)),
        _Node("null", "out_label"),
        _Node(_OPERATORS[hyperparameters.predictor_type], "out", (16, 17)),
    ]
    arguments = [number for number, node in enumerate(nodes) if node.op == "null"]
    row_ptr = _lines("[", [str(number) for number in range(len(nodes) + 1)], "]", 2)
    parts = {
        "nodes": _lines("[", [_encode_node(node) for node in nodes], "]", 2),
        "arg_nodes": json.dumps(arguments),
        "node_row_ptr": row_ptr,
        "heads": json.dumps([[len(nodes) - 1, 0, 0]]),
        "attrs": json.dumps({"mxnet_version": ["int", _MXNET_VERSION]}),
    }
    return _object(parts, 0).encode()


def _parameter(
    hyperparameters: Hyperparameters, group: str, shape: tuple[int, ...]
) -> dict[str, str]:
    """Return the attributes of a parameter that MXNet's optimiser and initialiser read."""
    method = getattr(hyperparameters, f"{group}_init_method")
    if method == "mean":
        method = "normal"  # ours, and unknown to MXNet, which only ever reads a trained bias here
    name = {"normal": "sigma", "uniform": "scale", "constant": "value"}[method]
    initializer = [method, {name: getattr(hyperparameters, f"{group}_init_{name}")}]
    return {
        "__init__": json.dumps(initializer),
        "__lr_mult__": str(getattr(hyperparameters, f"{group}_lr")),
        "__shape__": str(shape),
        "__wd_mult__": str(getattr(hyperparameters, f"{group}_wd")),
    }


def _encode_node(node: _Node) -> str:
    parts = {"op": json.dumps(node.op), "name": json.dumps(node.name)}
    if node.attrs:
        attrs = {name: json.dumps(text) for name, text in sorted(node.attrs.items())}
        parts["attrs"] = _object(attrs, 6) if len(attrs) > 1 else json.dumps(dict(node.attrs))
    parts["inputs"] = json.dumps([[number, 0, 0] for number in node.inputs])
    return _object(parts, 4)


def _object(parts: dict[str, str], indent: int) -> str:
    lines = [f"{json.dumps(name)}: {text}" for name, text in parts.items()]
    return _lines("{", lines, "}", indent)


def _lines(opening: str, items: Sequence[str], closing: str, indent: int) -> str:
    """Write one item per line, with a blank after each comma, as MXNet does."""
    start = "\n" + " " * (indent + 2)
    return opening + start + f", {start}".join(items) + "\n" + " " * indent + closing
