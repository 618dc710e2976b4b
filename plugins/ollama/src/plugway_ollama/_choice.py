"""Apply `tool_choice` for a server that ignores it. Pure functions."""

from __future__ import annotations

from plugway import REMOVE, MessagesRequest, as_list, as_object


def chosen(request: MessagesRequest) -> MessagesRequest:
    """The request with only the tools that may be called; unchanged if all of them may."""
    choice = as_object(request.get("tool_choice"))
    tools = as_list(request.get("tools"))
    if not tools or not choice:
        return request
    if choice.get("type") == "none":
        because = "Ollama ignores `tool_choice: none`, so no tool is offered"
        return request.replace(because=because, tools=REMOVE, tool_choice=REMOVE)
    kept = [tool for tool in tools if as_object(tool).get("name") == choice.get("name")]
    if choice.get("type") != "tool" or not kept or len(kept) == len(tools):
        return request
    because = "Ollama ignores `tool_choice`, so only the named tool is offered"
    return request.replace(because=because, tools=kept)
