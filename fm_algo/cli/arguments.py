"""What arguments of commands may be, and those that several commands have."""

import argparse
import re


def location(text: str) -> str:
    """Refuse an empty path, as of an unset variable: it would mean the working directory."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path")
    return text


def feature_range(text: str) -> range:
    """Read FIRST:STOP."""
    match = re.fullmatch(r"(\d{1,10}):(\d{1,10})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not FIRST:STOP, e.g. 943:2625")
    return range(int(match[1]), int(match[2]))


def add_target(parser: argparse.ArgumentParser, about: str) -> None:
    """Add the place to write to."""
    parser.add_argument("target", type=location, metavar="DST", help=about)


def cell(text: str) -> tuple[str, str]:
    """Read NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, e.g. age=31")
    return name, value


def count(text: str) -> int:
    """Read a number from 1 up."""
    if not re.fullmatch(r"\d{1,9}", text) or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)
