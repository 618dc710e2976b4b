"""How the gateway is reached: its URLs, its certificate, and what listening beyond this machine
requires.
"""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from plugway.config.document import Document
from plugway.config.settings import ServerOptions
from plugway.types.errors import Problem
from plugway_http.certificate import CertificateError, CertificateFiles
from plugway_http.hosts import has_port, in_url, is_loopback_host, without_port

if TYPE_CHECKING:
    from plugway.config.config import Config

LEAST_CHARACTERS = 22
"""Of a token that other machines can try: 128 random bits in base64, which OWASP's verification
standard requires of a token."""
WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound

log = logging.getLogger("plugway.app")


def exposure(server: ServerOptions, document: Document) -> Problem | None:
    """The problem if the gateway would listen beyond this machine without protection."""
    encrypted = server.tls or server.behind_tls
    if is_loopback_host(server.host) or (server.token and encrypted):
        return None
    missing = [
        *([] if server.token else ["a `token`"]),
        *([] if encrypted else ["`tls`, or `behind_tls: true` and a proxy that encrypts"]),
    ]
    reason = (
        f"`{server.host}` is reachable from other machines; that requires {' and '.join(missing)}"
    )
    return document.problem(("server", "host"), reason, "or listen on 127.0.0.1")


def weak_tokens(server: ServerOptions, document: Document) -> list[Problem]:
    """The problems of tokens that are too short for other machines to try."""
    if is_loopback_host(server.host):
        return []
    tokens = {("server", "tokens", i, "token"): t.token for i, t in enumerate(server.tokens)}
    found = {**({("server", "token"): server.token} if server.token else {}), **tokens}
    reason = f"a token that other machines can try needs at least {LEAST_CHARACTERS} characters"
    fix = "`python3 -c 'import secrets; print(secrets.token_urlsafe(32))'` prints one"
    return [
        document.problem(place, reason, fix)
        for place, token in found.items()
        if len(token.get_secret_value()) < LEAST_CHARACTERS
    ]


def certificate_files(config: Config) -> CertificateFiles | None:
    """The files of `server.tls`, if it is set."""
    tls = config.server.tls
    if tls is None:
        return None
    folder = config.document.folder or Path()
    password = tls.password.get_secret_value() if tls.password else ""
    certificate, key = folder / tls.certificate.expanduser(), folder / tls.key.expanduser()
    return CertificateFiles(certificate, key, password)


def certificate_problems(config: Config) -> list[Problem]:
    """Why `server.tls` cannot be used; what clients will refuse is logged as a warning."""
    files = certificate_files(config)
    if files is None:
        return []
    place, document = ("server", "tls"), config.document
    try:
        found = files.load()
    except CertificateError as error:
        return [document.problem((*place, error.part), error.reason, error.fix)]
    names = map(without_port, _names(config.server))
    for reason, fix in found.flaws([*names]):
        log.warning("%s", document.problem((*place, "certificate"), reason, fix))
    return []


def _names(server: ServerOptions) -> list[str]:
    """The names and addresses by which clients reach the gateway, as far as they are known."""
    names = [name for name in server.allowed_hosts if not name.startswith("*.")]
    return names or ([] if server.host in WILDCARDS else [in_url(server.host)])


def reached_at(server: ServerOptions) -> str:
    """Where other machines reach the gateway, as text; empty if they cannot."""
    if is_loopback_host(server.host) and not server.allowed_hosts:
        return ""
    if not (names := _names(server)):
        name = f"such as `{socket.gethostname()}`"
        return f"nowhere: list the name that they use, {name}, in `server.allowed_hosts`"
    scheme = "https" if server.tls or server.behind_tls else "http"
    port = f":{server.port}" if server.tls and server.port != 443 else ""  # noqa: PLR2004
    return ", ".join(f"{scheme}://{n}{'' if has_port(n) else port}" for n in names)


def ca_hint(files: CertificateFiles | None) -> str:
    """The file of certificates that clients must be told to trust; empty if they trust it anyway,
    as far as this machine's system can tell."""
    try:
        found = files.load() if files else None
    except CertificateError:
        return ""
    if found is None or found.is_trusted:
        return ""
    return str(found.path) if found.self_signed else "YOUR_CA.pem"
