"""Makes the private keys that the demo's two sites sign with."""

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


def new_rsa_key() -> str:
    """Return a new key for RS256, as PEM text."""
    return _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))


def new_ec_key() -> str:
    """Return a new key for ES256, as PEM text."""
    return _pem(ec.generate_private_key(ec.SECP256R1()))


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
