"""What is written in the built-in's layout is read again, bit for bit."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fm_algo.artifacts.builtin.artifact import read_builtin_model, save_builtin_model
from fm_algo.artifacts.builtin.ndarray import StoredArray, decode_ndarray_list, encode_ndarray_list
from fm_algo.model import FMModel

FLOAT32 = st.floats(width=32)
DTYPES = st.sampled_from(["<f4", "<f8", "<f2", "u1", "<i4", "i1", "<i8"])
SHAPES = st.lists(st.integers(0, 4), min_size=1, max_size=3).map(tuple)


@st.composite
def models(draw):
    feature_dim, num_factors = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    return FMModel(
        draw(st.sampled_from(["regressor", "binary_classifier"])),
        *(
            draw(arrays(np.float32, shape, elements=FLOAT32))
            for shape in ((1,), (feature_dim,), (feature_dim, num_factors))
        ),
    )


@st.composite
def stored_arrays(draw):
    dtype, shape = draw(DTYPES), draw(SHAPES)
    if draw(st.booleans()):
        return StoredArray.dense(draw(arrays(dtype, shape)))
    rows = draw(st.lists(st.integers(0, 9), unique=True).map(sorted))
    values = draw(arrays(dtype, (len(rows), *shape)))
    return StoredArray(values, (10, *shape), np.array(rows, np.int64))


@settings(deadline=None)  # a file is waited for until it is on disk
@given(models(), st.dictionaries(st.text().map("_{}".format), st.text()))
def test_a_model_written_is_the_model_read(model, hyperparameters):
    with tempfile.TemporaryDirectory() as directory:
        read, same = read_builtin_model(save_builtin_model(Path(directory), model, hyperparameters))

    assert read.predictor_type == model.predictor_type
    for name in ("w0", "w", "V"):
        assert getattr(read, name).shape == getattr(model, name).shape
        assert getattr(read, name).tobytes() == getattr(model, name).tobytes()
    assert same.items() >= hyperparameters.items()


@given(st.dictionaries(st.text(), stored_arrays(), max_size=4))
def test_arrays_written_are_the_arrays_read(named):
    read = decode_ndarray_list(b"".join(encode_ndarray_list(named)))

    assert list(read) == list(named)
    for name, array in named.items():
        assert read[name].values.dtype == array.values.dtype
        assert read[name].shape == array.shape
        assert read[name].unfold().tobytes() == array.unfold().tobytes()
