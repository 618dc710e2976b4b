"""The format of a chain: one record per line, linked by hashes and signed at checkpoints.

A line is canonical JSON (sorted keys, no spaces, UTF-8) with the record's own hash appended as its
last member. The hash is SHA-256 over the line without that member, and the record contains the hash
of the record before it, so verification needs no JSON library that writes the same bytes.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from importlib import import_module
from typing import Any, Final, NamedTuple

import orjson

from plugway import PlugwayError, as_object
from plugway_log import bytes_without_secrets

FIRST: Final = "0" * 64
"""`prev` of the first record of a chain."""
MISSING: Final = (
    "signed checkpoints need the library `cryptography`: run `pip install 'cryptography>=45'`"
)
_TAIL: Final = re.compile(rb',"hash":"([0-9a-f]{64})"\}')
_TAIL_BYTES: Final = len(b',"hash":""}') + 64
_SEED: Final = re.compile(r"[0-9a-f]{64}")


class Line(NamedTuple):
    """One record as it stands in a file."""

    number: int
    prev: str
    hash: str
    data: Mapping[str, Any]
    sound: bool
    """Whether the hash is that of the content."""

    @property
    def kind(self) -> str:
        """`exchange`, `checkpoint`, `start` and so on."""
        return str(self.data.get("kind", ""))


def timestamp(moment: datetime) -> str:
    """A time in UTC, as records contain it: its text sorts by time."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def canonical(record: Mapping[str, Any]) -> bytes:
    """The bytes that are hashed and signed."""
    return orjson.dumps(record, option=orjson.OPT_SORT_KEYS)


def encode(record: Mapping[str, Any]) -> tuple[bytes, str]:
    """The line of a record, without keys and tokens of this process, and its hash."""
    content = bytes_without_secrets(canonical(record))
    digest = hashlib.sha256(content).hexdigest()
    return b'%b,"hash":"%b"}\n' % (content[:-1], digest.encode()), digest


def decode(raw: bytes) -> Line | None:
    """The record of a line without its line end; None if it is not one."""
    tail = _TAIL.fullmatch(raw[-_TAIL_BYTES:])
    if tail is None:
        return None
    content = raw[:-_TAIL_BYTES] + b"}"
    try:
        data = as_object(orjson.loads(content))
    except orjson.JSONDecodeError:
        return None
    number, prev, digest = data.get("n"), data.get("prev"), tail[1].decode()
    if not isinstance(number, int) or not isinstance(prev, str):
        return None
    return Line(number, prev, digest, data, hashlib.sha256(content).hexdigest() == digest)


class Signer:
    """Signs statements with Ed25519."""

    def __init__(self, seed: str) -> None:
        """`seed` is the private key in hexadecimal. Raises `PlugwayError` if it is invalid."""
        if not _SEED.fullmatch(seed):
            raise PlugwayError("the signing key should be 64 hexadecimal digits (0-9, a-f)")
        ed25519, _ = _library()
        self._key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
        self.public: str = self._key.public_key().public_bytes_raw().hex()
        """The public key in hexadecimal."""

    @staticmethod
    def new_seed() -> str:
        """A new private key."""
        return secrets.token_hex(32)

    def signed(self, statement: Mapping[str, Any]) -> dict[str, Any]:
        """The statement with the public key and a signature."""
        whole = {**statement, "key": self.public}
        return {**whole, "sig": self._key.sign(canonical(whole)).hex()}


def is_signed(statement: Mapping[str, Any], public: str) -> bool:
    """Whether a statement is signed with the key."""
    ed25519, invalid = _library()
    rest = {name: value for name, value in statement.items() if name != "sig"}
    try:
        key = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        key.verify(bytes.fromhex(str(statement.get("sig"))), canonical(rest))
    except (ValueError, invalid):
        return False
    return statement.get("key") == public


def _library() -> tuple[Any, type[Exception]]:
    try:  # takes 50 ms
        ed25519 = import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
        return ed25519, import_module("cryptography.exceptions").InvalidSignature
    except ImportError:
        raise PlugwayError(MISSING) from None
