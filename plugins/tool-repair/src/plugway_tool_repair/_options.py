"""The options, as a user writes them."""

from __future__ import annotations

from typing import Literal

from plugway import Options


class ToolRepairOptions(Options):
    """Options of `tool-repair`."""

    unfixable: Literal["pass", "fail_over", "error"] = "pass"
    """What happens to a call that is still invalid after a retry: `pass` sends it unchanged, and
    the client reports the error to the model; `fail_over` tries the next target of the route, or
    does as `pass` if there is none; `error` ends the request. Once content has been sent it is
    always `pass`."""
    ask_again: bool = True
    """Ask the model once more, with the reason, after a call that cannot be repaired and after a
    reply without content. Only if no content has been sent to the client."""
    hold_thinking: bool = False
    """Hold thinking back until the next block is known, so that an invalid call after it can be
    retried. The client gets the thinking later, all at once."""
    rescue: bool = True
    """Convert calls in text to real ones."""
    remove_leaks: bool = True
    """Remove markers of chat templates, such as `<|im_end|>`, from text. They stay inside Markdown
    code."""
    without_tools: bool = False
    """Also repair replies to requests without tools: leaks and empty replies. Otherwise they are
    relayed unchanged."""
    native_zones: tuple[str, ...] = ("anthropic",)
    """Zones whose backends are left out: their requests and replies stay unchanged."""
