"""A server's certificate and key: loaded, and checked as a client would.

Python has no parser for certificates, so a certificate is checked by handshakes in memory.
"""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from plugway_log import Recorded

WARN_DAYS: Final = 14
"""Days before its end from which on a certificate is reported."""
_NO_CHECK_TIME: Final = 0x200000
"""`X509_V_FLAG_NO_CHECK_TIME` of OpenSSL, which Python does not name."""

Part = Literal["certificate", "key"]


class CertificateError(Recorded):
    """A certificate and its key cannot be used."""

    def __init__(self, part: Part, reason: str, fix: str) -> None:
        """`part` is the one that is wrong."""
        super().__init__(f"{reason}: {fix}")
        self.part: Part = part
        self.reason = reason
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that has been loaded with its key."""

    context: ssl.SSLContext
    """Serves handshakes with it."""
    path: Path
    raw: bytes
    """The certificate itself, in DER."""
    digest: bytes
    """Of the file, with the intermediate certificates."""
    names: tuple[str, ...]
    """The host names and addresses that it is valid for."""
    starts: float
    """When it becomes valid, in Unix time."""
    expires: float
    self_signed: bool

    @property
    def until(self) -> str:
        """When it expires, as text."""
        return _shown(self.expires)

    @property
    def is_trusted(self) -> bool:
        """Whether the CA certificates of this machine's system vouch for it."""
        client = ssl.create_default_context()
        client.check_hostname = False
        return _accepts(client, self.context)

    def covers(self, host: str) -> bool:
        """Whether it is valid for a host name or an address."""
        client = trusting(self.path)
        client.hostname_checks_common_name = False
        client.check_hostname = True
        return _accepts(client, self.context, host)

    @property
    def invalid_now(self) -> str:
        """Why clients refuse it at this time; empty if they do not."""
        now = time.time()
        if now < self.starts:
            return f"{self.path} is not valid before {_shown(self.starts)}"
        return f"{self.path} expired on {self.until}" if now > self.expires else ""

    @property
    def days_left(self) -> int:
        """Whole days until it expires."""
        return int((self.expires - time.time()) // 86_400)

    def flaws(self, hosts: Sequence[str]) -> list[tuple[str, str]]:
        """Why clients refuse it now or soon, each with a fix; `hosts` are what they call it."""
        found: list[tuple[str, str]] = []
        if self.invalid_now:
            found.append((f"{self.invalid_now}; clients refuse it", "renew it"))
        elif (days := self.days_left) < WARN_DAYS:
            found.append((f"{self.path} expires in {days} days, on {self.until}", "renew it"))
        if missing := [host for host in hosts if not self.covers(host)]:
            names = ", ".join(self.names) or "no name (it has no `subjectAltName`)"
            reason = f"{self.path} is not valid for {', '.join(missing)}, but for {names}"
            found.append((reason, "get one for that name, or correct `allowed_hosts` or `host`"))
        return found


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where a certificate and its key are stored."""

    certificate: Path
    """The certificate, followed by its intermediate ones (PEM)."""
    key: Path
    """Its private key (PEM)."""
    password: str = field(default="", repr=False)
    """The password of an encrypted key."""

    def load(self) -> Certificate:
        """Load and check both; an expired certificate is loaded too. Raises `CertificateError`."""
        chain = self._content("certificate", self.certificate)
        self._content("key", self.key)
        try:
            return self._load(hashlib.sha256(chain).digest())
        except OSError as error:  # one was removed meanwhile
            raise _unreadable("certificate", self.certificate, error) from None

    def _load(self, digest: bytes) -> Certificate:
        try:
            client = trusting(self.certificate)
        except ssl.SSLError:
            reason = f"{self.certificate} is not a certificate in PEM format"
            raise CertificateError("certificate", reason, "convert or replace it") from None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        try:
            # Without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(self.certificate, self.key, password=lambda: self.password)
        except ssl.SSLError as error:
            raise self._not_loaded(error) from None
        except ValueError as error:  # such as a password of more than 1024 bytes
            reason = f"{self.key} cannot be loaded: {error}"
            raise CertificateError("key", reason, "correct `password`") from None
        try:
            shown = _handshake(client, context)
        except ssl.SSLError as error:
            why = getattr(error, "verify_message", "") or error.reason
            reason = f"clients would refuse {self.certificate}: {why}"
            raise CertificateError("certificate", reason, "use a server certificate") from None
        facts: dict[str, Any] = shown.getpeercert() or {}
        return Certificate(
            context,
            self.certificate,
            shown.getpeercert(binary_form=True) or b"",
            digest,
            tuple(str(value) for _, value in facts.get("subjectAltName", ())),
            ssl.cert_time_to_seconds(facts["notBefore"]),
            ssl.cert_time_to_seconds(facts["notAfter"]),
            facts["subject"] == facts["issuer"],
        )

    def _content(self, part: Part, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise _unreadable(part, path, error) from None

    def _not_loaded(self, error: ssl.SSLError) -> CertificateError:
        if error.reason == "KEY_VALUES_MISMATCH":
            reason = f"{self.key} is not the key of {self.certificate}"
            fix = "use the pair that was issued together, with the server's certificate first"
            return CertificateError("key", reason, fix)
        if error.reason:  # such as `EE_KEY_TOO_SMALL`
            reason = f"{self.certificate} is not accepted: {error.reason}"
            return CertificateError("certificate", reason, "use a newer certificate")
        if "ENCRYPTED" in self.key.read_text(errors="replace"):
            what = "has another password" if self.password else "is encrypted"
            return CertificateError("key", f"{self.key} {what}", "set `password`")
        reason = f"{self.key} is not a private key in PEM format"
        return CertificateError("key", reason, "convert or replace it")


def _unreadable(part: Part, path: Path, error: OSError) -> CertificateError:
    reason = f"cannot read {path}: {error.strerror}"
    fix = "correct the path, or let the user that runs the gateway read it"
    return CertificateError(part, reason, fix)


def trusting(certificate: Path) -> ssl.SSLContext:
    """A client's context that accepts exactly the certificates in a file, whatever their names
    and even if they have expired. Raises `ssl.SSLError` or `OSError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(certificate)
    flags = context.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    context.verify_flags = ssl.VerifyFlags(flags)
    return context


def _shown(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _accepts(client: ssl.SSLContext, server: ssl.SSLContext, host: str = "localhost") -> bool:
    try:
        _handshake(client, server, host)
    except (ssl.SSLError, ValueError):  # `ValueError`: `host` cannot be a name
        return False
    return True


def _handshake(
    client: ssl.SSLContext, server: ssl.SSLContext, host: str = "localhost"
) -> ssl.SSLObject:
    """The client's end of a complete handshake. Raises `ssl.SSLError` if a side refuses."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, server_hostname=host)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (near, far) * 3:
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return near
