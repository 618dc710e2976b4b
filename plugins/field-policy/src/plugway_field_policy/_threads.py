"""Rejects requests that refer to a conversation stored on the server, and have only its last turn.

This is `thread` of the Messages API (`types/beta/beta_message_thread_param.py` of the `anthropic`
SDK, beta `message-threads-2026-08-12`). Only Anthropic supports it: without it, the rest of the
conversation would be lost silently. The SDK's tool runner uses it automatically, and sends the
whole conversation after the error codes returned here (`lib/threads/_thread_state.py`).
"""

from __future__ import annotations

import orjson

from plugway import MessagesRequest, Reply, as_object


def refusal(request: MessagesRequest, target: str, request_id: str) -> Reply | None:
    """The 400 for a request with a thread; None for any other."""
    thread = as_object(request.get("thread"))
    if not thread:
        return None
    if thread.get("type") == "continue":
        details: dict[str, object] = {"error_code": "thread_not_found"}
    else:
        details = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    message = (
        f"thread: `{target}` keeps no conversations. Send all messages, without `thread` "
        '(`unsupported_request_behavior="continue_unthreaded"` in the SDK).'
    )
    error = {"type": "invalid_request_error", "message": message, "details": details}
    body = orjson.dumps({"type": "error", "error": error, "request_id": request_id})
    headers = (("content-type", "application/json"), ("x-should-retry", "false"))
    return Reply.whole(400, body, headers=headers)
