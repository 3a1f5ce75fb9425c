"""Tables to rows of features, and back to names.

A table has named columns of values as people keep them: users, items, genres, prices. `columns`
says what each column is, `encoder` turns cells into features, and `arrow` does so for whole
batches and learns an encoder from a table. Nothing outside `arrow` imports pyarrow or Numba.
"""
