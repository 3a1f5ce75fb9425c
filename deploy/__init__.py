"""One tool for the AWS side: push the image, train, tune, serve, transform, clean up.

`python -m deploy COMMAND --help` lists the flags of a command. `--dry-run` prints its calls as
JSON and makes none of them.
"""
