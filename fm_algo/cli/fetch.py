"""`fetch`: copy training data from S3."""

import argparse
import os
import shutil
from pathlib import Path

from fm_algo.artifacts.location import make_directory
from fm_algo.artifacts.remote import local_source
from fm_algo.cli.arguments import add_target

ABOUT = """\
Copy training data: a file, or all files directly in a directory or below a prefix, to DST.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_target(parser, "a directory, which is made if need be")


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    target = Path(options.target)
    with local_source(options.source, bool) as source:
        make_directory(target)
        is_file = source.is_file()
        files = [source] if is_file else filter(Path.is_file, sorted(source.iterdir()))
        for file in files:
            shutil.copyfile(os.fspath(file), os.fspath(target / file.name))
