"""The page: one document with its style and script, and the headers that protect it."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Final


def _read(name: str) -> str:
    return resources.files("plugway_dashboard").joinpath("page", name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_STYLE: Final = _read("page.css")
_SCRIPTS: Final = (
    *("parts.js", "kept.js", "totals.js", "older.js"),
    *("state.js", "trials.js", "keys.js", "page.js"),
)
_SCRIPT: Final = "".join(map(_read, _SCRIPTS))

PAGE: Final = (
    _read("page.html")
    .replace("<style></style>", f"<style>{_STYLE}</style>")
    .replace("<script></script>", f"<script>{_SCRIPT}</script>")
)
"""It contains no data, so that it can be served without a token."""

HEADERS: Final = {
    "content-security-policy": (
        f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; "
        "connect-src 'self'; img-src blob:; media-src blob:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""Only the page's own style and script may run, and only requests to this gateway are allowed."""
