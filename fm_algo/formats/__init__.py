"""Bytes to rows and scores to bytes, one parser a format. No files, no clock, no environment.

A decoder takes the bytes of a source in pieces of any size and gives back the rows that are
complete so far:

    decoder = make_decoder(parse_content_type("text/csv;label_size=1"), feature_dim=3, labelled=True)
    batch = decoder.feed(b"1,0.5,0,2\n0,1")
    batch = decoder.close()

Every row that goes in comes out, empty ones included, or the call raises.
"""
