"""One tool for the AWS side: push the image, train, tune, serve, transform, clean up.

`python -m deploy COMMAND --help` says what a command takes; `--dry-run` prints its calls as JSON
and makes none of them.
"""
