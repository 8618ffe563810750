"""plotly.js inside the page: gzip, then base-85 text, inflated by the browser when the page opens.

The full bundle is 4.8 MB as it ships with plotly. A report must work offline and stay under 2 MB, so the page holds the
gzip of it in base 85 (5 characters for 4 bytes; base 64 would need 5.3): about 1.84 MB. The figures' own data is kept
alike. The alphabet has no character that is special inside a script element.
"""

import base64
import gzip
from functools import lru_cache
from importlib.resources import files

# Python's base-85 alphabet with "<" and "&" replaced, so that no tag or entity can arise inside the page.
_FROM, _TO = b"<&", b",."
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%.()*+-;,=>?@^_`{|}~"


@lru_cache(maxsize=1)
def plotly_text() -> str:
    """The minified plotly.js of the installed plotly, compressed, as text over `ALPHABET`."""
    return encode((files("plotly") / "package_data" / "plotly.min.js").read_bytes())


def encode(data: bytes) -> str:
    """gzip and base-85 of `data`; the same bytes always give the same text."""
    return base64.b85encode(gzip.compress(data, 9, mtime=0)).translate(bytes.maketrans(_FROM, _TO)).decode("ascii")


def decode(text: str) -> bytes:
    """The inverse of `encode`; the page does the same in JavaScript."""
    return gzip.decompress(base64.b85decode(text.encode("ascii").translate(bytes.maketrans(_TO, _FROM))))
