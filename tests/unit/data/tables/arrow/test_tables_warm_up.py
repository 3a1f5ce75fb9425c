"""What the image compiles beforehand is all that jobs of tables run."""

import json
import subprocess
import sys

PROGRAM = """
import importlib, json, pathlib, sys
sys.path.insert(0, "tests/contract")
from table_jobs import HASHED, WRITERS, describe, model_bytes
from training_tree import TrainingTree
from fm_algo.data.tables import arrow
from fm_algo.data.tables.arrow import warm_up

def signatures():
    names = [path.stem for path in pathlib.Path(arrow.__path__[0]).glob("*.py")]
    modules = [importlib.import_module(f"fm_algo.data.tables.arrow.{name}") for name in names]
    return {
        f"{module.__name__}.{name}": sorted(map(str, thing.signatures))
        for module in modules for name, thing in vars(module).items()
        if hasattr(thing, "signatures")
    }

warm_up.main()
before = signatures()
base = pathlib.Path(sys.argv[1])
for content_type in WRITERS:
    trees = [TrainingTree(base / content_type / name) for name in ("first", "later", "hashed")]
    for tree in trees[:2]:
        describe(tree, content_type, keep_seen="true", epochs="1")
    describe(trees[2], content_type, HASHED, with_items=False, epochs="1")
    trees[0].run()
    trees[1].channel("model", {"model.safetensors": model_bytes(trees[0])})
    trees[1].run()
    trees[2].run()
after = signatures()
changed = {name: [before[name], after[name]] for name in after if after[name] != before[name]}
print(json.dumps([len(after), changed]))
"""


def test_a_warm_up_compiles_all_that_jobs_of_tables_run(root, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        cwd=root,
    )
    num_functions, changed = json.loads(done.stdout.splitlines()[-1])

    assert num_functions >= 12
    assert changed == {}
