"""The URL of a server, as for OpenAI's own clients."""

from __future__ import annotations

from typing import Final

from plugway import url_problem

_ENDPOINTS: Final = ("chat/completions", "completions", "responses", "embeddings", "messages")
"""Paths that are added to the URL, and that other programs want in it."""


def address_problem(url: str, *, with_key: bool) -> str:
    """Why `url` cannot be a base URL; empty if it can."""
    if problem := url_problem(url, with_key=with_key):
        return problem
    end = next((end for end in _ENDPOINTS if url.rstrip("/").endswith(f"/v1/{end}")), "")
    return f"it must not end in `/{end}`, which is added to it for each request" if end else ""
