"""Compile the decoders into their cache, once per installation."""

from fm_algo.data.bulk.factory import make_bulk_decoder
from fm_algo.data.formats.content_type import CSV, LIBFFM, LIBSVM, RECORDIO_PROTOBUF, ContentType
from fm_algo.data.formats.recordio import MAGIC_BYTES

_SOURCES = {
    RECORDIO_PROTOBUF: MAGIC_BYTES + b"\1\0\0\0",  # a header suffices: it waits for its frame
    CSV: b"1,0\n",
    LIBSVM: b"1 0:0\n",
    LIBFFM: b"1 0:0:0\n",
}


def main() -> None:
    """Run each compiled function once."""
    for name, data in _SOURCES.items():
        make_bulk_decoder(ContentType(name, {}), feature_dim=1).feed(data)


if __name__ == "__main__":
    main()
