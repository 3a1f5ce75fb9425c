"""Compiled decoders: they read what `fm_algo.data.formats` reads, fast enough for training.

The plain decoders define what bytes mean and what errors say. A compiled decoder knows only the
usual form. It checks every length and stops at the first row in any other form, including a
damaged one. The plain decoder takes that row. So both give the same rows and the same messages,
however a source is cut into pieces.

Nothing here starts threads, and no call holds Python's global lock while it decodes.
"""
