"""Tables to rows of features, and back to names.

A table has named columns of values as people keep them: users, items, genres, prices. `columns`
says what each column is, `encoder` what each value is among the features. `row_encoder` turns rows
of cells into features, and `arrow` does so for whole batches and learns an encoder from a table.
`named_model` answers by name, `requests` reads what a server is sent. Nothing outside `arrow`
imports Numba, or pyarrow but for a request that is a Parquet file.
"""
