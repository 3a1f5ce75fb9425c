"""What the interpreter runs compiles for GPUs, too: Triton brings the assembler with it."""

import os
import subprocess
import sys

import pytest

COMPILE = """
import sys
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from fm_algo.training.gradient import gpu_field_passes, gpu_passes

TYPES = {
    "*fp64": ["metric_sums"],
    "*i64": ["chosen", "starts", "indptr", "num_steps", "order"],
    "*i32": ["indices", "keys", "rows", "pair_rows", "field_of"],
    "i32": [
        "stride", "w_at", "states_at", "width", "num_rows", "num_keys", "num_factors",
        "num_fields", "first_row",
    ],
    "fp32": [
        "bias_lr", "bias_wd", "linear_lr", "linear_wd", "factors_lr", "factors_wd", "rescale",
        "clip", "epsilon", "l1", "lr", "wd",
    ],
}
types = {name: kind for kind, names in TYPES.items() for name in names}

def compiled(function, **constants):
    signature = {
        name: "constexpr" if name in constants else types.get(name, "*fp32")
        for name in function.arg_names
    }
    source = ASTSource(function, signature, constants)
    made = compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32), options={"num_warps": 1})
    assert made.asm["cubin"]

tiles = {"PAIRS": 4, "FACTORS": 64, "TILE": gpu_passes.TILE}
for code in map(int, sys.argv[2:]):
    flag = code % 2 == 0
    if code < 2:
        compiled(
            gpu_passes.forward_rows, IS_CLASSIFIER=flag, HAS_VALUES=flag, IS_TRAINING=flag,
            ENTRIES=8, FACTORS=64,
        )
        compiled(gpu_passes.arrange_pairs, HAS_VALUES=flag, BY_FIELD=False, **tiles)
        compiled(gpu_passes.arrange_pairs, HAS_VALUES=True, BY_FIELD=True, **tiles)
        compiled(gpu_field_passes.sum_fields, HAS_VALUES=flag, ENTRIES=8, FACTORS=64)
        compiled(
            gpu_field_passes.weigh_fields, IS_CLASSIFIER=flag, HAS_VALUES=flag, HAS_WEIGHTS=flag,
            IS_TRAINING=flag, ENTRIES=8, FACTORS=64,
        )
    compiled(
        gpu_passes.begin_step, IS_CLASSIFIER=flag, USE_BIAS=flag, OPTIMIZER=code, ROWS=256
    )
    compiled(
        gpu_passes.update_columns, OPTIMIZER=code, USE_LINEAR=flag, HAS_VALUES=flag, KEYS=16,
        **tiles,
    )
    compiled(gpu_field_passes.update_pairs, OPTIMIZER=code, PAIRS=128)
"""


@pytest.mark.parametrize(
    ("capability", "optimizers"), [("75", "0"), ("90", "01234")], ids=["T4", "H100"]
)
def test_every_pass_compiles(capability, optimizers, root, tmp_path):
    environment = os.environ  # noqa: TID251 - for a process without the interpreter
    inherited = {name: environment[name] for name in ("PATH", "HOME") if name in environment}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, capability, *optimizers],
        env=inherited | {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(root)},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
