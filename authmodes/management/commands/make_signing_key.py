"""`manage.py make_signing_key`: print a new key as an entry of `AUTHMODES_SIGNING_KEYS`."""

import secrets
from argparse import ArgumentParser
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.utils import timezone

from ..base import CheckedCommand

CURVES: dict[str, type[Any]] = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}
RSA_BITS = 3072
FAMILIES = ("HS", "RS", "PS", "ES")
ALGORITHMS = [*(f"{family}{bits}" for family in FAMILIES for bits in (256, 384, 512)), "EdDSA"]


class Command(CheckedCommand):
    help = (
        "Print a new signing key as an entry of AUTHMODES_SIGNING_KEYS. The key is not stored; "
        "keep it with your secrets. First deploy it at the end of the list, so that every "
        "process can verify with it. Then move it to the front."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--algorithm", default="ES256", choices=ALGORITHMS, help="default: %(default)s"
        )
        parser.add_argument("--kid", help="default: the date and a few random characters")

    def handle(self, *args: Any, **options: Any) -> None:
        algorithm = options["algorithm"]
        kid = options["kid"] or f"{timezone.now():%Y%m%d}-{secrets.token_hex(3)}"
        entry = {"kid": kid, "algorithm": algorithm, **make_key(algorithm)}
        self.stdout.write(f"{entry!r},")


def make_key(algorithm: str) -> dict[str, str]:
    """Return the secret part of an entry."""
    if algorithm.startswith("HS"):
        return {"secret": secrets.token_urlsafe(int(algorithm[2:]) // 8)}
    key: Any
    if algorithm in CURVES:
        key = ec.generate_private_key(CURVES[algorithm]())
    elif algorithm == "EdDSA":
        key = ed25519.Ed25519PrivateKey.generate()
    else:
        key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {"private_key": pem.decode()}
