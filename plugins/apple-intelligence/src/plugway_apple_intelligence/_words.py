"""Texts for users, and the facts about a model that clients and other plugins see."""

from __future__ import annotations

from typing import Any, Final

from plugway import ModelInfo

SWITCH_ON: Final = "System Settings > Apple Intelligence & Siri"
"""Where Apple Intelligence is switched on (support.apple.com/121115)."""
SIDE_REQUESTS: Final = "side_requests_only"
"""Key in `ModelInfo.extra`: the model is for titles and small chats, not for conversations with
tools. `recommend` does not recommend such a model for them."""
CLIENT_TOKENS: Final = 20_000
"""Tokens of Claude Code's instructions and tools (`docs/configuration.md`)."""
_NAMES: Final = {
    "system": "Apple Intelligence (on device)",
    "pcc": "Apple Intelligence (Private Cloud Compute)",
    "apple-foundationmodel": "Apple Intelligence (on device)",
}


def purpose(model: str, window: int) -> str:
    """What the model is for, as a notice."""
    fits = "does not fit" if window < CLIENT_TOKENS else "has little room"
    return (
        f"`{model}` has a window of {window:,} tokens: use it for titles, small chats and side "
        f"requests. An agent's main conversation {fits}; Claude Code's instructions and tools "
        f"alone take about {CLIENT_TOKENS:,} tokens."
    )


def described(model: str, window: int, *able: str, problem: str = "") -> ModelInfo:
    """One of Apple's models as listed."""
    extra: dict[str, Any] = {SIDE_REQUESTS: True}
    return ModelInfo(
        model,
        display_name=_NAMES.get(model, ""),
        context_tokens=window,
        max_output_tokens=window,
        state="unloaded" if problem else "unknown",
        capabilities=frozenset(able),
        extra=extra,
        notice=f"{problem}. {purpose(model, window)}" if problem else purpose(model, window),
    )


UNAVAILABLE: Final = {
    "APPLE_INTELLIGENCE_NOT_ENABLED": (
        f"Apple Intelligence is switched off on this Mac. Switch it on in {SWITCH_ON}"
    ),
    "DEVICE_NOT_ELIGIBLE": (
        "This Mac cannot run Apple's model: it needs Apple silicon, and a language and region that "
        "Apple Intelligence supports (support.apple.com/121115)"
    ),
    "MODEL_NOT_READY": (
        "Apple's model is still being downloaded or prepared. Its progress is shown in "
        f"{SWITCH_ON}; keep the Mac on power and Wi-Fi, and retry later"
    ),
    "UNKNOWN": f"Apple's model is not available, for no stated reason. Look at {SWITCH_ON}",
}
"""Sentences by the names of `SystemLanguageModelUnavailableReason` (`core.py` of the SDK)."""
