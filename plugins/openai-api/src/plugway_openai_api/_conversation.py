"""Finds the id of the conversation that an OpenAI client's request belongs to."""

from __future__ import annotations

from typing import Final

from plugway import Identity, MessagesRequest

HEADERS: Final = (
    "session_id",
    "conversation_id",
    "x-session-affinity",
    "x-opencode-session",
    "x-kilo-session",
    "x-kilocode-taskid",
    "x-task-id",
    "x-openwebui-chat-id",
    "x-conversation-id",
)
"""Codex's older versions send the conversation in the first two headers. opencode sends its session
in the next ones; Kilo Code in `x-kilo-session` and `x-kilocode-taskid`, if it takes Plugway for its
own gateway (`packages/opencode/src/session/llm/request.ts` of anomalyco/opencode and
Kilo-Org/kilocode). Cline sends its task, Open WebUI its chat. The kernel itself reads headers whose
names end with `session-id`."""
THREAD: Final = "thread-id"
"""Codex sends the session in `session-id` and the thread in this header; a subagent has its own
thread (`codex-rs/codex-api/src/requests/headers.rs` of openai/codex)."""
PARENT: Final = "x-codex-parent-thread-id"
FIELDS: Final = ("prompt_cache_key", "session_id")
"""`prompt_cache_key` identifies requests with a common prefix (OpenAI's API reference, "Create a
model response"); Codex, opencode and others set it to the conversation's id. `session_id` is
OpenRouter's."""
MAX_ID: Final = 200


def conversation_of(request: MessagesRequest) -> Identity | None:
    """The conversation named by the client; a header takes precedence over a body field."""
    found: object = next((request.named[n] for n in HEADERS if n in request.named), None)
    if found is None and request.original is not None and request.original.body:
        get = request.original.get
        found = next((value for name in FIELDS if (value := get(name))), None)
    if isinstance(found, str) and 0 < len(found) <= MAX_ID and found.isprintable():
        return Identity(found)
    return None


def thread_of(request: MessagesRequest) -> Identity | None:
    """The thread of a Codex subagent within its session; None for other requests."""
    session, thread = request.header("session-id"), request.header(THREAD)
    if not session or not thread or thread == session:
        return None
    parent = request.header(PARENT)
    return Identity(session, thread, None if parent == session else parent)
