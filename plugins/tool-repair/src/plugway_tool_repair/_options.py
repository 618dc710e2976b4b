"""The options: what a user writes."""

from __future__ import annotations

from typing import Literal

from plugway import Options


class ToolRepairOptions(Options):
    """Options of `tool-repair`."""

    unfixable: Literal["pass", "fail_over", "error"] = "pass"
    """What becomes of a call that is still wrong after the model was asked again: `pass` hands it
    on as it is, and the client tells the model; `fail_over` tries the next target of the route,
    and is `pass` where none is left; `error` ends the request. Once content has gone out it is
    always `pass`."""
    ask_again: bool = True
    """Ask the model once more, with the reason, for a call that cannot be mended, and for an
    answer without content. Only while the client has seen nothing."""
    hold_thinking: bool = False
    """Hold thinking back until what follows it is known, so that a wrong call behind it can be
    asked for again. The client sees the thinking later, all at once."""
    rescue: bool = True
    """Turn calls that stand in text into real ones."""
    remove_leaks: bool = True
    """Take markers of chat templates, such as `<|im_end|>`, out of text. Inside of Markdown code
    they stay."""
    without_tools: bool = False
    """Look after replies to requests without tools too: leaks and empty answers. Otherwise their
    bytes are relayed as they are."""
    native_zones: tuple[str, ...] = ("anthropic",)
    """Zones whose backends get and give everything unchanged."""
