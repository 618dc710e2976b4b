"""Scripted servers of Apple's models.

`fm serve` of macOS 27: `01_CLI_REFERENCE.md` of llostinthesauce/fm-teardown (an early build that
refuses every `tools` array; `/v1/models` with `owned_by: Apple`; 503 for a tier that is not
available) and `README.md`, `AGENTS.md`, `fm-proxy.js` of gregbarbosa/fm-proxy (betas 2 to 6: a
request without `stream` is streamed; a tool without `description` is a 400; usage in streams only
with `include_usage`; errors inside streams that began with 200). Apple documents none of it.
"""

from __future__ import annotations

from plugway.testing import respond, sse
from plugway_openai_wire.testing import chat_message, chat_stream

ALLOWED = frozenset(
    ("model", "messages", "temperature", "max_tokens", "stream", "stream_options", "tools",
     "tool_choice", "response_format", "top_p")
)  # fmt: skip
NO_TOOLS = "Invalid tool definition: The data couldn’t be read because it is missing."
NO_PCC = "Model 'pcc' is unavailable: PCC inference is not available in this context."
MODELS = {
    "object": "list",
    "data": [{"id": id_, "object": "model", "owned_by": "Apple"} for id_ in ("system", "pcc")],
}


def error(status, message, kind="invalid_request_error"):
    return respond(status, {"error": {"type": kind, "code": str(status), "message": message}})


def fm_serve(text="Hello.", *, tools="none", pcc=False, said=None):
    """`tools`: `none` refuses every tool, `flat` only schemas with inner objects, `all` none.
    `said` is an error message that every chat request gets, with its status."""

    def answer(request):
        if request.method == "GET":
            return respond(200, MODELS)
        body = request.json
        assert body.keys() <= ALLOWED, body.keys() - ALLOWED
        if problem := _problem(body, tools):
            return error(400, problem)
        if body["model"] == "pcc" and not pcc:
            return error(503, NO_PCC, "service_unavailable")
        if said is not None:
            return error(*said)
        if body.get("stream", True):
            usage = as_usage(body)
            return sse(chat_stream(text, usage=usage))
        return respond(200, chat_message(text))

    return answer


def as_usage(body):
    wanted = body.get("stream_options", {}).get("include_usage")
    return {"prompt_tokens": 57, "completion_tokens": 5, "total_tokens": 62} if wanted else None


def _problem(body, tools):
    functions = [tool["function"] for tool in body.get("tools", ())]
    if any(function.get("description") is None for function in functions):
        return "Invalid JSON: The data couldn’t be read because it is missing."
    nested = any("object" in str(f["parameters"].get("properties")) for f in functions)
    return NO_TOOLS if functions and (tools == "none" or (tools == "flat" and nested)) else ""
