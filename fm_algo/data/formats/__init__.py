"""Bytes to rows and scores to bytes, one parser a format. No files, no clock, no environment.

A decoder (`decoder.RowDecoder`, made by `factory.make_decoder`) takes the bytes of a source in
pieces of any size and gives back the rows that are complete so far. Every row that goes in comes
out, empty ones included, or the call raises.
"""
