"""The outer guard: an ASGI middleware that authenticates requests and rejects unsafe ones.

It does not decide which models a caller may use; see `exchange/grants` and `exchange/pipeline`.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from urllib.parse import unquote_to_bytes

import anyio
from starlette.types import ASGIApp, Receive, Scope, Send

from plugway.exchange.intake import check_length, refuse
from plugway.kept import Bounded
from plugway.types.backend import ANONYMOUS, OWNER, Caller
from plugway.types.errors import HookError
from plugway_http.hosts import has_port, matches
from plugway_wire.errors import Forbidden, RequestRejected
from plugway_wire.ids import new_id

PUBLIC_PATHS = frozenset({"/", "/api/hello", "/health", "/readyz"})
METHODS = frozenset({"GET", "HEAD", "POST", "DELETE"})
FAILURES_PER_MINUTE = 20
PEERS_REMEMBERED = 1024

_Line = tuple[bytes, bytes]
_Lines = list[_Line]
_Named = dict[bytes, bytes]

_TOKEN_HEADERS = frozenset({b"authorization", b"x-api-key", b"x-goog-api-key", b"plugway-token"})
_CREDENTIALS = _TOKEN_HEADERS | {b"api-key"}
# Removed because any client can set them.
_DROPPED = frozenset(
    b"cookie forwarded proxy-authorization x-forwarded-for x-forwarded-host x-forwarded-port"
    b" x-forwarded-prefix x-forwarded-proto x-http-method-override x-real-ip".split()
)
_REMOVED = _CREDENTIALS | _DROPPED
_ONCE = _CREDENTIALS | frozenset(
    b"host origin sec-fetch-site content-type content-encoding content-length".split()
)


async def _unknown(_: bytes) -> Caller | None:
    return None


@dataclass(frozen=True, slots=True)
class GuardPolicy:
    """What the guard lets in; without tokens it rejects every request."""

    tokens: Mapping[bytes, Caller] = field(repr=False)
    """The caller of each token."""
    hosts: frozenset[str] = frozenset()
    """`Host` headers allowed besides loopback: each with the listening port too, unless it has a
    port; `*.` stands for one label."""
    origins: frozenset[str] = frozenset()
    open_paths: Collection[str] = frozenset()
    """Paths of plugins' public routes: no credential is needed, and forms and cookies pass."""
    accepts: Collection[tuple[str, str]] = frozenset()
    """Media types of bodies besides JSON, each with the path that accepts it."""
    authenticate: Callable[[bytes], Awaitable[Caller | None]] = _unknown
    """Asked for the caller of a token that is none of `tokens`."""
    max_body_bytes: int = 32 * 2**20


class Guard:
    """Rejects unsafe requests; passes the others on without the gateway's credential."""

    def __init__(self, app: ASGIApp, policy: Callable[[], GuardPolicy]) -> None:
        self._app = app
        self._policy = policy
        self._failures = _Failures()
        self._large_bodies = anyio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope; adds `plugway.caller` and `plugway.request_id` to it."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                return await send({"type": "websocket.close", "code": 1008})
            return await self._app(scope, receive, send)
        request_id = new_id("req")
        policy = self._policy()
        try:
            caller, others, headers = _admitted(scope, policy)
            if caller is None:
                caller, others = await self._by_plugins(scope, policy, others)
        except (RequestRejected, HookError) as error:
            return await refuse(error, {**scope, "plugway.request_id": request_id}, receive, send)
        foreign = tuple([line for line in others if line[0] != b"plugway-token"])
        inner = {
            **scope,
            "headers": headers,
            "plugway.caller": replace(caller, credentials=foreign) if foreign else caller,
            "plugway.request_id": request_id,
            "plugway.large_bodies": self._large_bodies,
        }
        await self._app(inner, receive, send)

    async def _by_plugins(
        self, scope: Scope, policy: GuardPolicy, lines: _Lines
    ) -> tuple[Caller, _Lines]:
        """The caller that plugins know by one of these credentials, and the other ones; an
        anonymous caller where no token is needed. Two with one name would share conversations."""
        for line in lines:
            if (token := _token(line)) and (caller := await policy.authenticate(token)):
                if caller.name != OWNER and caller.name in {c.name for c in policy.tokens.values()}:
                    reason = "is a person and a token in `server.tokens`: rename the token"
                    raise Forbidden(f"`{caller.name}` {reason}", retry=False)
                return caller, [one for one in lines if one is not line]
        is_public = scope["path"] in PUBLIC_PATHS and scope["method"] in ("GET", "HEAD")
        if is_public or scope["path"] in policy.open_paths:
            return Caller(ANONYMOUS), lines
        peer = (scope.get("client") or ("",))[0]
        if wait := self._failures.count(peer):
            message = "too many requests with a wrong token; see `plugway status`"
            later = {"retry-after": str(wait)}
            raise RequestRejected(message, status=429, headers=later, retry=False)
        message = "no valid token: set ANTHROPIC_AUTH_TOKEN (`plugway status` shows where it is)"
        raise RequestRejected(message, status=401, retry=False)


def _admitted(scope: Scope, policy: GuardPolicy) -> tuple[Caller | None, _Lines, _Lines]:
    """The caller by the configuration's tokens, other credentials, and the headers that pass."""
    lines: _Lines = scope["headers"]
    named = dict(lines)
    if len(named) < len(lines):
        _check_once([name for name, _ in lines])
    is_open = scope["path"] in policy.open_paths
    _check(scope, named, policy, is_open)
    removed = _REMOVED - {b"cookie"} if is_open else _REMOVED
    kept = [line for line in lines if line[0] not in removed]
    credentials = [(name, named[name]) for name in sorted(_CREDENTIALS & named.keys())]
    return *_match(credentials, policy.tokens), kept


def key_as_header(scope: Scope, places: Sequence[tuple[str, str]]) -> Scope:
    """`scope` with the token moved from the query to the header `plugway-token`.

    `places` are path prefixes where this is allowed, each with the parameter's name. An existing
    header wins.
    """
    path: str = scope["path"]
    name = next((name.encode() for start, name in places if path.startswith(start)), b"")
    parts: list[bytes] = scope["query_string"].split(b"&")
    keys = [part for part in parts if part.startswith(name + b"=")] if name else []
    if not keys:
        return scope
    lines: _Lines = scope["headers"]
    if not any(line[0] == b"plugway-token" for line in lines):
        lines = [*lines, (b"plugway-token", unquote_to_bytes(keys[0][len(name) + 1 :]))]
    rest = b"&".join(part for part in parts if part not in keys)
    return {**scope, "query_string": rest, "headers": lines}


class _Failures:
    """Counts wrong credentials per peer in windows of a minute.

    Requests with a valid token are never limited: all local programs share one address, and a
    guessing one must not lock the user out. The token is too long to guess.
    """

    def __init__(self) -> None:
        self._peers: Bounded[str, tuple[float, int]] = Bounded(PEERS_REMEMBERED)

    def count(self, peer: str) -> int:
        """Count a failure; returns the seconds until the next is allowed, or 0."""
        now = time.monotonic()
        since, failures = self._peers.get(peer, (now, 0))
        if now - since >= 60:
            since, failures = now, 0
        self._peers[peer] = (since, failures + 1)
        return 0 if failures < FAILURES_PER_MINUTE else max(1, round(since + 60 - now))


def _check_once(names: list[bytes]) -> None:
    for name in _ONCE:
        if names.count(name) > 1:
            message = f"more than one `{name.decode()}` header"
            status = 415 if name in (b"content-type", b"content-encoding") else 400
            raise RequestRejected(message, status=status, retry=False)


def _check(scope: Scope, headers: _Named, policy: GuardPolicy, is_open: bool) -> None:
    port = (scope.get("server") or ("", 0))[1]
    _check_host(headers.get(b"host", b""), port, policy)
    method: str = scope["method"]
    # Other sites may link to an open page.
    if not (is_open and method == "GET") and (b"origin" in headers or b"sec-fetch-site" in headers):
        _check_browser(headers, policy, scope["scheme"])
    if method == "POST":
        if (kind := headers.get(b"content-type")) != b"application/json":
            others = [kind for path, kind in policy.accepts if path == scope["path"]]
            _check_content_type(kind, *others, *["application/x-www-form-urlencoded"] * is_open)
        _check_encoding(headers.get(b"content-encoding", b""))
    elif method not in METHODS:
        allowed = {"allow": "GET, HEAD, POST, DELETE"}
        message = f"method {method[:32]!r} is not served here"
        raise RequestRejected(message, status=405, headers=allowed, retry=False)
    check_length(headers.get(b"content-length"), policy.max_body_bytes)


def _check_host(host: bytes, port: int, policy: GuardPolicy) -> None:
    if not matches(host, _allowed_hosts(policy.hosts, port)):
        message = f"host {host[:100].decode('latin-1')!r} is not in `server.allowed_hosts`"
        raise RequestRejected(message, status=421, retry=False)


def _match(lines: _Lines, tokens: Mapping[bytes, Caller]) -> tuple[Caller | None, _Lines]:
    """The caller of these credentials, and the credentials that are none of `tokens`. If two
    tokens match, the one with more rights wins."""
    known: Caller | None = None
    others: _Lines = []
    for line in lines:
        matched: Caller | None = None
        if value := _token(line):
            # Comparing with every token keeps the timing constant.
            for token, caller in tokens.items():
                if hmac.compare_digest(value, token):
                    matched = caller
        if matched is not None and (known is None or known.limited):
            known = matched
        if matched is None:
            others.append(line)
    return known, others


def _token(line: _Line) -> bytes:
    """The token in a header line; empty if there is none."""
    name, value = line
    if name == b"authorization":
        return value[7:] if value[:7].lower() == b"bearer " else b""
    return value if name in _TOKEN_HEADERS else b""


@lru_cache(maxsize=8)
def _allowed_hosts(configured: frozenset[str], port: int) -> frozenset[bytes]:
    names = {"127.0.0.1", "localhost", "[::1]"} | {host.lower() for host in configured}
    names |= {f"{name}:{port}" for name in names if not has_port(name)}
    return frozenset(name.encode("latin-1", "replace") for name in names)


def _check_browser(headers: _Named, policy: GuardPolicy, scheme: str) -> None:
    origin, host = headers.get(b"origin"), headers.get(b"host", b"")
    # With TLS, only `https` is this origin; a proxy in front may add it.
    own = (b"https://" + host, scheme.encode() + b"://" + host)
    if origin is not None and origin not in own and origin.decode("latin-1") not in policy.origins:
        raise Forbidden("this `Origin` is not in `server.allowed_origins`")
    if headers.get(b"sec-fetch-site", b"").lower() in (b"cross-site", b"same-site"):
        raise Forbidden("requests from web pages of other sites are not allowed")


def _check_content_type(value: bytes | None, *others: str) -> None:
    kinds = ("application/json", *others)
    if (value or b"").partition(b";")[0].strip().lower().decode("latin-1") not in kinds:
        known = " or ".join(f"`{kind}`" for kind in kinds)
        message = f"a POST requires exactly one `content-type`, which must be {known}"
        raise RequestRejected(message, status=415, retry=False)


def _check_encoding(value: bytes) -> None:
    """Reject compressed bodies, which could be a thousand times as large when decompressed (status
    and `Accept-Encoding`: RFC 9110, 15.5.16)."""
    if value.strip().lower() not in (b"", b"identity"):
        message = "`content-encoding` is not supported: send the JSON uncompressed"
        supported = {"accept-encoding": "identity"}
        raise RequestRejected(message, status=415, headers=supported, retry=False)
