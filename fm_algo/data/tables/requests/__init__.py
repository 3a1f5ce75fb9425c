"""Requests by name: bytes to rows of a model that has an encoder.

`factory` chooses the decoder of a request. `instances` reads JSON objects, `csv` and `parquet` read
tables, and `rows` encodes what they read and puts the place before an error. `asked` says what a
row can ask for beside its score.
"""
