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
NEW_TOKEN = 'python3 -c "import secrets; print(secrets.token_urlsafe(32))"'  # noqa: S105 - a command
WILDCARDS = ("0.0.0.0", "::", "[::]")  # noqa: S104 - compared, not bound

log = logging.getLogger("plugway.app")


def exposure(server: ServerOptions, document: Document) -> list[Problem]:
    """What is missing to listen beyond this machine; nothing if the gateway does not."""
    if is_loopback_host(server.host):
        return []
    encrypted = server.tls or server.behind_tls
    missing = [
        *([] if server.token else ["a `token`"]),
        *([] if encrypted else ["`tls`, or `behind_tls: true` and a proxy that encrypts"]),
    ]
    problems: list[Problem] = []
    if missing:
        reason = f"`{server.host}` is reachable from other machines; that requires "
        place, fix = ("server", "host"), "or listen on 127.0.0.1"
        problems.append(document.problem(place, reason + " and ".join(missing), fix))
    tokens = [(("server", "token"), server.token)] if server.token else []
    tokens += [(("server", "tokens", i, "token"), t.token) for i, t in enumerate(server.tokens)]
    for place, token in tokens:
        if len(token.get_secret_value()) < LEAST_CHARACTERS:
            reason = f"must have at least {LEAST_CHARACTERS} characters, because other machines "
            reason += f"can reach `{server.host}` and try tokens"
            problems.append(document.problem(place, reason, f"`{NEW_TOKEN}` prints a new one"))
    return problems


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
    port = f":{server.port}" if server.tls and server.port != 443 else ""  # noqa: PLR2004
    return ", ".join(f"https://{n}{'' if has_port(n) else port}" for n in names)


def ca_hint(files: CertificateFiles | None) -> str:
    """The file of certificates that clients have to trust explicitly; empty if they trust it
    anyway, as far as this machine's system knows."""
    try:
        found = files.load() if files else None
    except CertificateError:
        return ""
    if found is None or found.is_trusted:
        return ""
    return str(found.path) if found.self_signed else "YOUR_CA.pem"
