"""Headers that name a request's prediction and the version that answered, the same over HTTP and gRPC."""

from urllib.parse import quote

from tidemill_contracts.inference import PREDICTION_ID_HEADER
from tidemill_runtime.model.errors import BadRequestError

MAX_ID = 256  # characters of a request id; it is a key in the monitor's database
VERSION_HEADER = b"x-tidemill-version"
ID_HEADER = PREDICTION_ID_HEADER.encode()

Fields = dict[bytes, bytes]  # the headers of a request that inference looks at, names in lower case


def given_id(fields: Fields) -> str | None:
    """Return the prediction id that the client chose, None when it chose none.

    Raises:
        BadRequestError: longer than an id may be, or not printable ASCII.
    """
    value = fields.get(ID_HEADER)
    if value is None:
        return None
    text = value.decode("latin-1")
    if not 0 < len(text) <= MAX_ID or not (text.isascii() and text.isprintable()):
        raise BadRequestError(f"{PREDICTION_ID_HEADER}: expected 1 to {MAX_ID} printable ASCII characters")
    return text


def header_value(request_id: str) -> bytes:
    """Return an id as a header value: as it is when printable ASCII, else percent-encoded UTF-8."""
    if request_id.isascii() and request_id.isprintable():
        return request_id.encode()
    return quote(request_id, safe=" /:;,@!$&'()*+=[]{}<>?^|~`\"#").encode()
