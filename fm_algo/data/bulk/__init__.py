"""Compiled decoders: what `fm_algo.data.formats` reads, read as fast as a training job needs it.

The plain decoders say what bytes mean and how an error reads. A compiled one knows only the form
that writers mostly use. It steps through it with every length checked, and stops at the first row
that is anything else, damage included: that row is the plain decoder's. So both give the same rows
and the same messages, however a source is cut into pieces.

Nothing here starts threads, and no call holds Python's global lock while it decodes.
"""
