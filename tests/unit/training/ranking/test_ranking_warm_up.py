"""What the image compiles beforehand is all that ranking losses run."""

import json
import subprocess
import sys

PROGRAM = """
import importlib, json, pathlib, sys
sys.path.insert(0, "tests/contract")
from table_jobs import describe
from training_tree import TrainingTree
from fm_algo.training import ranking
from fm_algo.training.ranking import warm_up

def signatures():
    names = [path.stem for path in pathlib.Path(ranking.__path__[0]).glob("*.py")]
    modules = [importlib.import_module(f"fm_algo.training.ranking.{name}") for name in names]
    return {
        f"{module.__name__}.{name}": sorted(map(str, thing.signatures))
        for module in modules for name, thing in vars(module).items()
        if hasattr(thing, "signatures")
    }

warm_up.main()
before = signatures()
for number, changes in enumerate((
    {"loss": "bpr", "num_negatives": "2"},
    {"loss": "warp", "negative_sampling_power": "0.5"},
)):
    tree = TrainingTree(pathlib.Path(sys.argv[1]) / str(number))
    describe(tree, epochs="1", **changes)
    tree.run()
after = signatures()
changed = {name: [before[name], after[name]] for name in after if after[name] != before[name]}
print(json.dumps([len(after), changed]))
"""


def test_a_warm_up_compiles_all_that_ranking_losses_run(root, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        cwd=root,
    )
    num_functions, changed = json.loads(done.stdout.splitlines()[-1])

    assert num_functions >= 4
    assert changed == {}
