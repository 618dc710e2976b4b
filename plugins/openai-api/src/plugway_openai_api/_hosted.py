"""Describes items of OpenAI's hosted tools as text, for other models. Pure functions.

Shapes: `types/responses/response_input_item_param.py` of the `openai` SDK 3.52 and its imports.
They cannot become calls of the Messages API, which refer to tools that the request offers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from plugway import as_list, as_object
from plugway_openai_api._client_tools import OUTPUTS, output_text

_IGNORED: Final = frozenset(
    (
        "acknowledged_safety_checks",
        "call_id",
        "caller",
        "container_id",
        "encrypted_content",
        "environment",
        "execution",
        "fingerprint",
        "id",
        "pending_safety_checks",
        "status",
        "svg_usage",
        "type",
    )
)
"""Fields that mean nothing to a model."""
_RESULTS: Final = ("output", "outputs", "result", "results", "error")
_UNREADABLE: Final = frozenset(
    (
        "compaction",
        "compaction_trigger",
        "configuration_update",
        "context_compaction",
        "mcp_list_tools",
    )
)
"""Items that only OpenAI's servers can read."""
_BY_USER: Final = frozenset(("computer_call_output", "mcp_approval_response"))
"""Items that the client adds; they belong to the user's turn."""
_IMAGES: Final = ("png", "webp", "jpeg", "gif")


@dataclass(frozen=True, slots=True)
class HostedText:
    """One hosted item as text for a model."""

    text: str
    images: tuple[Mapping[str, Any], ...] = ()
    """Content parts of type `input_image`."""
    by_user: bool = False


def describe_hosted(item: Mapping[str, Any]) -> HostedText | None:
    """Describe the item; None if it holds nothing that another model can read."""
    kind = str(item.get("type"))
    if kind in _UNREADABLE:
        return None
    if kind in OUTPUTS and kind != "tool_search_output":
        return HostedText(f"[{kind}]\n{output_text(item)}")
    given = {n: v for n, v in item.items() if n not in _IGNORED and v not in (None, "", [], {})}
    images = _images(kind, given)
    results = {name: given.pop(name) for name in _RESULTS if name in given}
    output = "\n".join(map(_written, results.values()))
    if not (given or output or images):
        return None
    if kind.endswith("_call"):
        head = f"[The tool `{kind.removesuffix('_call')}` was called with {_written(given)}]"
    else:
        head = f"[{kind}]" + (f"\n{_written(given)}" if given else "")
    return HostedText("\n".join(filter(None, (head, output))), images, kind in _BY_USER)


def _images(kind: str, given: dict[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Remove the images from `given` and return them as parts."""
    found: list[Any] = []
    if kind == "image_generation_call":
        form = given.pop("output_format", "png")
        data = given.pop("result", None)
        if isinstance(data, str) and form in _IMAGES:
            found.append(f"data:image/{form};base64,{data}")
    elif kind == "computer_call_output":
        shown = as_object(given.get("output"))
        if "image_url" in shown or "file_id" in shown:
            del given["output"]
            return ({**shown, "type": "input_image"},)
    elif kind == "code_interpreter_call":
        outputs = as_list(given.pop("outputs", None))
        found = [as_object(o).get("url") for o in outputs if as_object(o).get("type") == "image"]
        rest = [o for o in outputs if as_object(o).get("type") != "image"]
        given |= {"outputs": [as_object(o).get("logs", o) for o in rest]} if rest else {}
    urls = (url for url in found if isinstance(url, str))
    return tuple({"type": "input_image", "image_url": url} for url in urls)


def _written(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(part, str) for part in as_list(value)):
        return "\n".join(as_list(value))
    return value if isinstance(value, str) else orjson.dumps(value).decode()
