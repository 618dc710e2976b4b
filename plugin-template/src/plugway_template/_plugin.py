"""The plugin: one option, one hook."""

from __future__ import annotations

from typing import Any

from plugway import Exchange, MessagesRequest, Options, Plugin, as_list, hookimpl


class TemplateOptions(Options):
    """Options of `template`."""

    text: str
    """What is added to the system prompt."""


class Template(Plugin[TemplateOptions]):
    """Adds `text` to the system prompt of every request."""

    @hookimpl
    async def transform_request(
        self, request: MessagesRequest, exchange: Exchange
    ) -> MessagesRequest:
        """The request with one more block at the end of `system`."""
        system = with_sentence(request.get("system"), self.options.text)
        return request.replace(because="the sentence from the configuration", system=system)


def with_sentence(system: object, text: str) -> list[dict[str, Any]]:
    """`system`, which the API takes as a string or as blocks, with one more block."""
    if isinstance(system, str):
        blocks: list[dict[str, Any]] = [{"type": "text", "text": system}] if system else []
    else:
        blocks = as_list(system)
    return [*blocks, {"type": "text", "text": text}]
