"""The HTML of the verification page: plain documents without scripts."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from importlib import resources
from typing import Final

from starlette.responses import HTMLResponse

_STYLE: Final = resources.files("plugway_sign_in").joinpath("page.css").read_text("utf-8")
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS: Final = {
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    # With `no-referrer`, browsers send forms with `Origin: null`.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def code_page(code: str, problem: str = "", status: int = 200) -> HTMLResponse:
    """Asks for the code. One from the link is filled in, but never sent by itself: otherwise a link
    alone could sign in somebody else's client."""
    said = _problem(problem)
    return _page(
        "Sign in to Claude Code",
        f"""{said}<p>Claude Code shows a code when you sign in. Enter it here.</p>
<form method="post" action="/device">
<label for="code">Code</label>
<input class="code" id="code" name="user_code" value="{escape(code)}" required maxlength="20"
 autocomplete="off" autocapitalize="characters" spellcheck="false"{_described(said)}>
<button class="go">Continue</button>
</form>""",
        status,
    )


def ways_page(
    csrf: str, *, passwords: bool, provider: str | None, problem: str = "", status: int = 200
) -> HTMLResponse:
    """Asks who somebody is."""
    said = _problem(problem)
    link = form = ""
    if provider is not None:
        kind = "button" if passwords else "button go"
        link = (
            f'<p><a class="{kind}" href="/device/provider">Continue with {escape(provider)}</a></p>'
        )
    if passwords:
        form = f"""<form method="post" action="/device/password">
{_hidden(csrf)}
<label for="name">Name</label>
<input id="name" name="name" required maxlength="200" autocomplete="username" autocapitalize="none"
 spellcheck="false"{_described(said)}>
<label for="password">Password</label>
<input id="password" name="password" type="password" required maxlength="1000"
 autocomplete="current-password"{_described(said)}>
<button class="go">Sign in</button>
</form>"""
    return _page("Who are you?", f"{said}{link}{form}", status)


def confirm_page(csrf: str, person: str, code: str) -> HTMLResponse:
    """Asks whether the client is the person's own."""
    return _page(
        "Is this your Claude Code?",
        f"""<p>You are <strong>{escape(person)}</strong>.</p>
<p>Claude Code will use models in your name. Allow it only if you started the sign-in yourself, and
your terminal shows this code:</p>
<p class="code">{escape(code)}</p>
<form method="post" action="/device/decide">
{_hidden(csrf)}
<button class="go" name="decision" value="allow">Allow</button>
<button name="decision" value="deny">Deny</button>
</form>""",
    )


def last_page(title: str, text: str, status: int = 200) -> HTMLResponse:
    """Says how it ended."""
    return _page(title, f"<p>{escape(text)}</p>", status)


def _hidden(csrf: str) -> str:
    return f'<input type="hidden" name="csrf" value="{escape(csrf)}">'


def _problem(problem: str) -> str:
    return f'<p class="bad" role="alert" id="problem">{escape(problem)}</p>' if problem else ""


def _described(said: str) -> str:
    return ' aria-describedby="problem" aria-invalid="true"' if said else ""


def _page(title: str, body: str, status: int = 200) -> HTMLResponse:
    text = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} - Plugway</title>
<style>{_STYLE}</style>
<body>
<main>
<h1>{escape(title)}</h1>
{body}
</main>
"""
    return HTMLResponse(text, status, HEADERS)
