"""Make the compiled decoder for a content type."""

from fm_algo.data.bulk.csv import BulkCSVDecoder
from fm_algo.data.bulk.libsvm import BulkLibFFMDecoder, BulkLibSVMDecoder
from fm_algo.data.bulk.recordio import BulkRecordIODecoder
from fm_algo.data.fields import Fields
from fm_algo.data.formats.content_type import ContentType
from fm_algo.data.formats.decoder import RowDecoder
from fm_algo.data.formats.factory import DecoderTypes, make_decoder

_COMPILED = DecoderTypes(
    recordio=BulkRecordIODecoder,
    csv=BulkCSVDecoder,
    libsvm=BulkLibSVMDecoder,
    libffm=BulkLibFFMDecoder,
)


def make_bulk_decoder(
    content_type: ContentType,
    *,
    feature_dim: int,
    labelled: bool = True,
    fields: Fields | None = None,
) -> RowDecoder:
    """Return a new decoder for a source of this type, a compiled one if there is one.

    Parameters
    ----------
    content_type, feature_dim, labelled, fields
        As for `fm_algo.data.formats.factory.make_decoder`.

    Raises
    ------
    UserError
        As from `make_decoder`.
    """
    return make_decoder(
        content_type, feature_dim=feature_dim, labelled=labelled, fields=fields, types=_COMPILED
    )
