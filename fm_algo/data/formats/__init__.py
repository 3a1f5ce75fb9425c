"""Turn bytes into rows and scores into bytes, with one parser per format.

A decoder (`decoder.RowDecoder`, made by `factory.make_decoder`) takes the bytes of a source in
pieces of any size and returns the rows that are complete so far. Every row that goes in comes
out, empty ones included, or the call raises. Nothing here uses files, the clock or the environment.
"""
