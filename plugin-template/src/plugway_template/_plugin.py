"""The plugin: one option, one hook."""

from __future__ import annotations

from typing import Any

from plugway import Exchange, MessagesRequest, Options, Plugin, as_list, hookimpl


class TemplateOptions(Options):
    """Options of `template`."""

    text: str
    """The sentence to add."""


class Template(Plugin[TemplateOptions]):
    """Adds `text` to the system prompt of every request."""

    @hookimpl
    async def transform_request(
        self, request: MessagesRequest, exchange: Exchange
    ) -> MessagesRequest:
        """Add one block to the end of `system`."""
        system = with_sentence(request.get("system"), self.options.text)
        return request.replace(because="the sentence from the configuration", system=system)


def with_sentence(system: object, text: str) -> list[dict[str, Any]]:
    """Return `system`, which may be a string or blocks, with one more block."""
    if isinstance(system, str):
        blocks: list[dict[str, Any]] = [{"type": "text", "text": system}] if system else []
    else:
        blocks = as_list(system)
    return [*blocks, {"type": "text", "text": text}]
