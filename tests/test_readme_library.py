"""The README's example of the library does what it says."""

import re
import subprocess
import sys


def test_the_example_of_the_library_trains_and_scores(root):
    blocks = re.findall(r"^```python\n(.*?)^```$", (root / "README.md").read_text(), re.M | re.S)
    example = next(block for block in blocks if "make_learner" in block)

    done = subprocess.run(
        [sys.executable, "-c", example], cwd=root, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    rmse = re.search(r"'rmse', kind='loss', value=([\d.]+)", done.stdout)
    assert rmse is not None
    assert float(rmse[1]) < 0.2, "the noise in the labels is 0.1"
    assert len(re.findall(r"\d\.\d+", done.stdout.splitlines()[-1])) == 5
