"""Encrypts and decrypts recorded turns: AES-256-GCM, bound to the place of each turn.

`_store` keeps the results. The cipher and the derivation of its key are those of `cryptography`.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

SALT_BYTES: Final = 16
MOST_PLAIN: Final = 256 * 2**20
"""Most bytes of a turn when it is unpacked."""
_NONCE_BYTES: Final = 12


class Altered(Exception):
    """What was encrypted has been changed, moved or damaged."""


class Vault:
    """One key. Scrypt takes about 50 ms, so make it once, in a thread."""

    def __init__(self, key: str, salt: bytes) -> None:
        derived = Scrypt(salt=salt, length=32, n=2**14, r=8, p=1).derive(key.strip().encode())
        self._cipher = AESGCM(derived)
        self.id = hashlib.sha256(b"plugway recordings" + derived).hexdigest()[:8]
        """Tells keys apart without saying anything about them."""

    def seal(self, content: bytes, place: str) -> bytes:
        """`content`, compressed and encrypted; it can be opened at `place` only."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, zlib.compress(content), place.encode())

    def open(self, sealed: bytes, place: str) -> bytes:
        """What was sealed at `place`. Raises `Altered`."""
        try:
            packed = self._cipher.decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place.encode()
            )
            unpacker = zlib.decompressobj()
            content = unpacker.decompress(packed, MOST_PLAIN)
        except (InvalidTag, ValueError, zlib.error):
            raise Altered from None
        if not unpacker.eof:
            raise Altered
        return content
