"""What our tables keep of a secret, or of a name of any length: its digest."""

import hashlib


def digest_of(text: str) -> str:
    """Return the SHA-256 of a text, in 64 hexadecimal digits."""
    # JSON can carry half of a surrogate pair, which strict UTF-8 refuses to encode.
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
