"""Tables by the batch: read them, learn an encoder from them, encode them.

reading       files and data frames to Arrow record batches
columns       what an Arrow column holds: words, sets of words, numbers
texts         compiled loops over words
counting      how often each value of a column occurs
fitting       a table to a `TableEncoder`
encoding      record batches to rows of features
"""
