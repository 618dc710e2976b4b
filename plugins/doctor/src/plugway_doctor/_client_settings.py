"""Checks of Claude Code's settings: where it sends requests, through which proxy, with which
token, and whether auto mode works. See `_client_models` for the models that they name."""

from __future__ import annotations

import ipaddress
import re
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from urllib.parse import SplitResult, urlsplit

from plugway import LocalGateway
from plugway_claude_client import claude_folder, plugway_command
from plugway_doctor._checks import Check, Outcome
from plugway_doctor._settings_files import ClientSettings, Setting

_URL = "ANTHROPIC_BASE_URL"
_TOKENS = ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY")
_HEADERS = "ANTHROPIC_CUSTOM_HEADERS"
_PROVIDERS = ("BEDROCK", "VERTEX", "FOUNDRY", "MANTLE", "ANTHROPIC_AWS")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
"""Each of them, also in capitals, redirects requests to this machine (seen with 2.1.332)."""
_FORCED = ("forceLoginMethod", "forceLoginOrgUUID")
_SECONDS = 5.0
_OFF = frozenset(("0", "false", "no", "off"))


def readable(settings: ClientSettings) -> Iterator[Check]:
    """Settings files that Claude Code ignores, and restrictions set by an administrator."""
    for file, reason in settings.broken.items():
        fix = f"fix {file}; until then Claude Code ignores it"
        yield Check("client settings", "failed", f"{file} {reason}", fix)
    for file, key in settings.managed(*_FORCED):
        reason = f"`{key}` in {file} forces a login, so Claude Code does not use a gateway"
        fix = "ask this machine's administrator; Plugway does not work around it"
        yield Check("managed settings", "failed", reason, fix)


def points_here(gateway: LocalGateway, settings: ClientSettings) -> Setting | None:
    """The setting that points Claude Code to this gateway, even if it has a mistake."""
    url = settings.variable(_URL)
    return url if url and _is_host_and_port_of(_split(url.value), gateway) else None


def base_url(gateway: LocalGateway, settings: ClientSettings) -> Check:
    """The file or variable that decides where Claude Code sends its requests."""
    name = "base url"
    url = settings.variable(_URL)
    if url is None:
        reason = "no setting points Claude Code here yet"
        fix = "run `plugway claude` or `plugway setup claude-code`"
        return Check(name, "passed", f"{reason}: {fix}")
    parts = _split(url.value)
    reason = f"{url.place} points Claude Code to {_shown(parts)}"
    fix = url.fix(f"set it to {gateway.url}, or remove it and run `plugway claude`")
    own = url.file == claude_folder() / "settings.json"
    outcome, more = _judged(parts, gateway)
    if outcome == "passed":
        return Check(name, "passed", f"{url.place} points Claude Code here")
    if outcome == "warned" and url.managed:
        outcome = "failed"
    return Check(name, outcome, f"{reason}{more}", fix, _set_up if own else None)


def _judged(parts: SplitResult | None, gateway: LocalGateway) -> tuple[Outcome, str]:
    """The outcome for a base URL, and its problem."""
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        return "failed", ", which is not a valid URL"
    if not _is_host_of(parts, gateway):
        return "warned", ""
    if _port(parts) != gateway.port:
        if _listens(parts):
            return (
                "warned",
                f", where another program is listening; the gateway is at {gateway.url}",
            )
        return "failed", f", where nothing listens; the gateway is at {gateway.url}"
    if parts.scheme != urlsplit(gateway.url).scheme:
        speaks = "does not speak TLS" if parts.scheme == "https" else "speaks TLS only"
        return "failed", f", but the gateway {speaks}"
    path = parts.path.rstrip("/")
    if path == "/v1":
        return "warned", ": Claude Code adds `/v1` itself, and only this gateway tolerates two"
    return ("failed", ", a path that the gateway does not serve") if path else ("passed", "")


def provider(settings: ClientSettings, here: Setting | None) -> Check:
    """Whether another provider is enabled, which makes Claude Code ignore its base URL."""
    name = "provider"
    for switch in settings.any_of(*(f"CLAUDE_CODE_USE_{other}" for other in _PROVIDERS)):
        if switch.is_on and (here or switch.managed):
            reason = (
                f"{switch.place} sends Claude Code to that provider, regardless of its base URL"
            )
            return Check(name, "failed", reason, switch.fix("remove it, or run `plugway claude`"))
    return Check(name, "passed", "no other provider is enabled")


def proxy(gateway: LocalGateway, settings: ClientSettings, here: Setting | None) -> Check:
    """Whether a proxy would receive Claude Code's requests to this machine."""
    name = "proxy"
    host = here and _split(here.value)
    address = (host.hostname if host else None) or "127.0.0.1"
    spared = next(settings.any_of("NO_PROXY", "no_proxy"), None)
    every = [form for variable in _PROXIES for form in (variable, variable.upper())]
    found = next(settings.any_of(*every), None) if here else None
    if found is None or (spared and _spares(spared.value, address, gateway.port)):
        return Check(name, "passed", "no proxy is used between Claude Code and the gateway")
    reason = f"{found.place} makes Claude Code send requests for {address} to a proxy"
    own = f"NO_PROXY in `env` of {claude_folder() / 'settings.json'}"
    fix = f"add {address} to {spared.place if spared else own}, or run `plugway claude`"
    return Check(name, "failed", reason, (spared or found).fix(fix))


def credential(
    gateway: LocalGateway, settings: ClientSettings, here: Setting | None, *, runs: bool
) -> Check:
    """Whether this gateway accepts the token that Claude Code would send."""
    name = "credential"
    if here is None:
        return Check(name, "passed", "no setting points Claude Code here, so no token is needed")
    fix = "run `plugway setup claude-code` or `plugway claude`; both set the token for you"
    given = list(settings.any_of(*_TOKENS))
    own = _token_header(settings)
    taken = [
        token
        for token in [*given, *([own] if own else [])]
        if token.value == gateway.token or (runs and _is_taken(gateway, token.value))
    ]
    if taken and (len(given) < len(_TOKENS) or own in taken):
        return Check(name, "passed", f"the gateway accepts {taken[0].place}")
    if taken:
        other = next((token for token in given if token not in taken), given[-1])
        reason = f"{given[0].place} and {given[1].place} are both set: Claude Code sends both"
        fix = other.fix(f"remove {other.place}; the gateway accepts {taken[0].place}")
        return Check(name, "warned", reason, fix)
    if given or own:
        wrong = " and ".join(token.place for token in [*given, *([own] if own else [])])
        verb = "are" if " and " in wrong else "is"
        reason = f"{wrong} {verb} not valid for this gateway: it would return 401"
        return Check(name, "failed", reason, (given or [own or here])[0].fix(fix))
    if helper := settings.text("apiKeyHelper"):
        return Check(name, "skipped", f"{helper.place} creates the token; it is not run here")
    return Check(name, "failed", f"{here.place} points here, but no token is set", fix)


def _token_header(settings: ClientSettings) -> Setting | None:
    """The gateway's token in its own header, next to a key for the backend."""
    headers = settings.variable(_HEADERS)
    line = headers and re.search(r"^\s*plugway-token\s*:\s*(\S+)", headers.value, re.M | re.I)
    if not headers or not line:
        return None
    return Setting(f"`plugway-token` of {_HEADERS}", line[1], headers.file, headers.managed)


def auto_mode(settings: ClientSettings) -> Iterator[Check]:
    """Whether Claude Code checks itself which tool calls may run without asking."""
    switch = settings.variable("CLAUDE_CODE_AUTO_MODE_SERVER")
    if switch is not None and switch.value.strip().lower() in _OFF:
        reason = (
            f"{switch.place} makes Claude Code check tool calls itself: it sends them to "
            "claude-sonnet-5, which goes where the conversation goes"
        )
        fix = "remove CLAUDE_CODE_AUTO_MODE_SERVER; the gateway then answers without a model"
        yield Check("auto mode of the client", "warned", reason, switch.fix(fix))


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError:
        return None
    return parts


def _shown(parts: SplitResult | None) -> str:
    """An address without its user, password and query."""
    if parts is None or not parts.hostname:
        return "a value without a host"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _is_host_of(parts: SplitResult, gateway: LocalGateway) -> bool:
    own = urlsplit(gateway.url).hostname or ""
    return parts.hostname == own or (_is_loopback(parts.hostname or "") and _is_loopback(own))


def _is_host_and_port_of(parts: SplitResult | None, gateway: LocalGateway) -> bool:
    return parts is not None and _is_host_of(parts, gateway) and _port(parts) == gateway.port


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listens(parts: SplitResult) -> bool:
    with suppress(OSError), socket.create_connection((parts.hostname, _port(parts)), _SECONDS):
        return True
    return False


def _spares(value: str, host: str, port: int) -> bool:
    """Whether `NO_PROXY` excludes a host from the proxy, in the forms that Claude Code 2.1.332
    accepts: `*`, a host, a host with a port, a suffix with its dot, a network."""
    for entry in re.split(r"[,\s]+", value):
        if entry in ("*", host, f"{host}:{port}") or (entry[:1] == "." and host.endswith(entry)):
            return True
        with suppress(ValueError):
            if ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
    return False


def _is_taken(gateway: LocalGateway, token: str) -> bool:
    """Whether the running gateway accepts a token. Limited tokens do not count."""
    try:
        request = urllib.request.Request(  # the gateway's own address
            f"{gateway.url}/v1/models", headers={"authorization": f"Bearer {token}"}
        )
        secure = [urllib.request.HTTPSHandler(context=gateway.tls)] if gateway.tls else []
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), *secure)
        with opener.open(request, timeout=_SECONDS) as answer:
            return answer.status == 200
    except (OSError, ValueError, HTTPException):
        return False


def _set_up() -> None:
    """Point the user's settings here; `plugway setup` can undo it."""
    words = [plugway_command(), "setup", "claude-code"]
    subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
