"""Whatever bytes are sent: an answer or one line that says why not, and soon.

    python -m pytest tests/fuzz                       some thousand inputs
    python tests/fuzz/test_serve_fuzz.py --inputs 1000000 [--seed 1]

Mutated are good and bad bodies of every format, those of tests/data among them: bits, bytes, spans,
numbers and pieces of others, as coverage-blind fuzzers do it. All go through the whole of a
request, from its headers to the bytes of the answer, in this process; what is not an answer or a
UserError of one line ends the run.
"""

import argparse
import dataclasses
import io
import json
import logging
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from container.serving.scoring import REQUEST_TYPES, Scorer
from container.settings import ANSWER_TYPES, Settings
from fm_algo import write_recordio
from fm_algo.errors import UserError
from fm_algo.model import FMModel
from fm_algo.model.field_weights import FieldWeights
from fm_algo.sparse.feature_space import FeatureSpace

_log = logging.getLogger(__name__)

DATA = Path(__file__).resolve().parent.parent / "data"
FEATURE_DIM = 5
MAX_BODY = 4096
LIMIT_S = 2.0

FORMATS = {
    "application/json": ("json", b'0123456789.,:-+eE"[]{} \n\\u\xffnulltruefalse'),
    "application/jsonlines": ("jsonlines", b'0123456789.,:-+eE"[]{} \n\\u\xffnulltruefalse'),
    "application/x-recordio-protobuf": ("recordio", bytes(range(256))),
    "text/csv": ("csv", b'0123456789.,:-+eE" \n\r\t;nainf\xef\xbb\xbf'),
    "text/libsvm": ("libsvm", b"0123456789.,:-+eE# \n\r\tqid"),
    "text/libffm": ("libffm", b"0123456789.,:-+eE# \n\r\tqid"),
}
_VALID = np.array([[1, 0, 0, 0.5, 0], [0, 0, 0, 0, 0], [0, 2, 0, 0, -1e-3]], np.float32)


def recordio(rows):
    target = io.BytesIO()
    write_recordio(target, rows)
    return target.getvalue()


EXTRA_SEEDS = {
    "application/x-recordio-protobuf": [
        recordio(_VALID),
        recordio(csr_matrix(_VALID)),
        recordio(csr_matrix(_VALID[:1])),
    ],
    "text/csv": [b"1,0,0,0.5,0\n0,0,0,0,0\n", b'" 1",2,3,4,5\r\n', b"1,1,0,0,0.5,0\n"],
    "text/libsvm": [b"1 0:1 3:0.5\n\n2:2 4:-1 # x\n"],
    "text/libffm": [b"1 0:0:1 1:3:0.5\n\n0:2:2 1:4:-1 # x\n"],
    "application/json": [
        b'{"instances": [{"features": [1, 0, 0, 0.5, 0]}, {"data": {"features": {"values": '
        b'[1, 2], "keys": [4, 1], "shape": [5]}}}]}',
        b'{"instances": [{"features": [1, 0, 0, 0.5, 0], "configuration": {"explain": true}}]}',
        b'{"instances": [{"features": [1, 0, 0, 3, 9e37], "configuration": {"uncertainty": true}}'
        b"]}",
        b'{"instances": [{"configuration": {"top_k": 2, "candidates": {"first": 0, "last": 4}}, '
        b'"data": {"features": {"keys": [0, 3], "values": [1, 2], "shape": [5]}}}]}',
    ],
    "application/jsonlines": [
        b'{"features": [1, 0, 0, 0.5, 0]}\n{"data": {"features": {"shape": [5]}}}\n',
        b'{"features": [3e38, 0, 0, 0, 3e38]}\n',
        b'{"features": {"keys": [1, 4], "values": [1, 2]}, "configuration": {"explain": true}}\n',
    ],
}
PARAMETERS = ("", ";label_size=1", ";label_size=0", ";index_base=1", ";charset=utf-8")
NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63)
TEXTS = b"0 1 2 3 4 5 7 -1 0.5 1e3 1e-40 3e38 1e39 1e400 1e-400 00 1_0 +1 .5 1. 0x1".split()


def model_of(predictor_type):
    rng = np.random.default_rng(7)
    shapes = (1, FEATURE_DIM, (FEATURE_DIM, 2))
    parameters = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    return FMModel(predictor_type, *parameters)


def with_samples(model):
    samples = tuple(dataclasses.replace(model, w=model.w + np.float32(n)) for n in range(3))
    return dataclasses.replace(model, samples=samples)


MODELS = [model_of("regressor"), model_of("binary_classifier")]
MODELS += [with_samples(model) for model in MODELS]
_SPACE = FeatureSpace.of_columns(("0", "1"), np.array([0, 3]), FEATURE_DIM)
MODELS += [dataclasses.replace(MODELS[0], field_weights=FieldWeights.of_ones(_SPACE))]
SETTINGS = Settings.from_environment({})


def corpus_of(content_type):
    folder = FORMATS[content_type][0]
    files = [path for path in sorted((DATA / folder).rglob("*")) if path.is_file()]
    bodies = [path.read_bytes() for path in files if not path.name.endswith(".expected.json")]
    return [body[:MAX_BODY] for body in bodies] + EXTRA_SEEDS[content_type]


CORPORA = {content_type: corpus_of(content_type) for content_type in FORMATS}


def mutate(rng, content_type):  # noqa: C901 - a list of kinds, one after the other
    """Change a body in a few places, mostly one; half of the bodies are good ones."""
    corpus, alphabet = CORPORA[content_type], FORMATS[content_type][1]
    bodies = EXTRA_SEEDS[content_type] if rng.integers(2) else corpus
    body = bytearray(bodies[rng.integers(len(bodies))])
    for _ in range(rng.geometric(0.5)):
        place = int(rng.integers(len(body) + 1))
        length = int(min(rng.geometric(0.2), len(body) - place))
        kind = rng.integers(12)
        if kind == 0 and place < len(body):
            body[place] ^= 1 << int(rng.integers(8))
        elif kind == 1 and place < len(body):
            body[place] = alphabet[rng.integers(len(alphabet))]
        elif kind == 2:
            del body[place : place + length]
        elif kind == 3:
            body[place:place] = body[place : place + length] * int(rng.integers(1, 20))
        elif kind == 4:
            body[place:place] = bytes(alphabet[i] for i in rng.integers(len(alphabet), size=3))
        elif kind == 5:
            other = corpus[rng.integers(len(corpus))]
            start = int(rng.integers(len(other) + 1))
            body[place : place + length] = other[start : start + int(rng.geometric(0.05))]
        elif kind == 6:
            number = NUMBERS[rng.integers(len(NUMBERS))]
            is_text = content_type != "application/x-recordio-protobuf"
            text = str(number).encode() if is_text else number.to_bytes(8, "little")[:4]
            body[place : place + (length if is_text else 4)] = text
        elif kind == 7:
            del body[place:]
        elif digits := [at for at, byte in enumerate(body) if 48 <= byte <= 57]:
            at = digits[rng.integers(len(digits))]
            body[at : at + 1] = TEXTS[rng.integers(len(TEXTS))]
    return bytes(body[:MAX_BODY])


def cut(body):
    """Cut a body in two, as a request of many pieces is; where, its bytes decide."""
    place = sum(body[:8]) % (len(body) + 1)
    return body[:place], body[place:]


def ask(body, content_type, accept, model):
    """Return the status of one request, and check that the answer is one a caller may get."""
    started = time.monotonic()
    try:
        scorer = Scorer(model, content_type, accept, SETTINGS)
        answer = b"".join(piece for data in cut(body) for piece in scorer.feed(data))
        answer += b"".join(scorer.close())
    except UserError as error:
        status, reason = error.http_status, error.message
    else:
        status, reason = 200, ""
        assert scorer.num_rows > 0
        assert scorer.answer_type in ANSWER_TYPES
        assert answer
        if scorer.answer_type == "application/json":
            assert len(json.loads(answer)["predictions"]) == scorer.num_rows
        elif scorer.answer_type != "application/x-recordio-protobuf":
            assert answer.count(b"\n") == scorer.num_rows
    if status != 200:
        assert 400 <= status < 500
        assert reason
        assert "\n" not in reason
        assert "Traceback" not in reason
    assert time.monotonic() - started < LIMIT_S
    return status


def fuzz(num_inputs, seed, content_types=tuple(FORMATS)):
    """Ask with `num_inputs` mutated bodies; return how often each status came, by type."""
    rng = np.random.default_rng(seed)
    statuses = {content_type: Counter() for content_type in content_types}
    for number in range(num_inputs):
        content_type = content_types[number % len(content_types)]
        body = mutate(rng, content_type)
        header = content_type + PARAMETERS[rng.integers(len(PARAMETERS))]
        accept = (*ANSWER_TYPES, None)[rng.integers(len(ANSWER_TYPES) + 1)]
        try:
            status = ask(body, header, accept, MODELS[number % len(MODELS)])
        except BaseException as error:
            error.add_note(f"input {number} of seed {seed}: {header}, {accept}, {body!r}")
            raise
        statuses[content_type][status] += 1
        if number % 100_000 == 99_999:
            _log.info("%d inputs", number + 1)
    return statuses


@pytest.mark.parametrize("content_type", FORMATS)
def test_mutated_bodies_are_answered_or_refused_in_one_line(content_type):
    statuses = fuzz(1500, 0, (content_type,))[content_type]

    assert statuses[200] > 0
    assert statuses[400] > 0


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                (
                    *("features", "data", "keys", "values", "shape", "label", "x"),
                    *("configuration", "explain", "top_k", "candidates", "first", "last"),
                    "uncertainty",
                )
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(json_values, max_size=4), st.sampled_from([None, *ANSWER_TYPES]))
def test_json_of_any_structure_is_answered_or_refused_in_one_line(instances, accept):
    body = json.dumps({"instances": instances}).encode()
    ask(body, "application/json", accept, MODELS[0])
    lines = "".join(f"{json.dumps(instance)}\n" for instance in instances).encode()
    ask(lines, "application/jsonlines", accept, MODELS[1])
    ask(lines, "application/jsonlines", accept, MODELS[2])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(REQUEST_TYPES) | st.text(), st.none() | st.text(), st.binary(max_size=200))
def test_any_headers_and_bytes_are_answered_or_refused_in_one_line(content_type, accept, body):
    ask(body, content_type, accept, MODELS[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    started = time.monotonic()
    statuses = fuzz(options.inputs, options.seed)
    row = {"inputs": options.inputs, "seed": options.seed, "statuses": statuses}
    print(json.dumps(row | {"elapsed_s": round(time.monotonic() - started)}))  # noqa: T201 - its result


if __name__ == "__main__":
    main()
