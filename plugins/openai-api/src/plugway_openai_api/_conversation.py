"""Which conversation a request of a client of OpenAI's APIs belongs to, as the client says it."""

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
"""Older versions of Codex name their conversation in the first two; opencode its session in the
next ones, Kilo Code in `x-kilo-session` and `x-kilocode-taskid` where it takes Plugway for its own
gateway (`packages/opencode/src/session/llm/request.ts` of anomalyco/opencode and
Kilo-Org/kilocode); Cline its task; Open WebUI its chat. Lines that end with `session-id` are known
to the kernel."""
THREAD: Final = "thread-id"
"""Codex names the session in `session-id` and the thread beside it: of a subagent that is another
one (`codex-rs/codex-api/src/requests/headers.rs` of openai/codex)."""
PARENT: Final = "x-codex-parent-thread-id"
FIELDS: Final = ("prompt_cache_key", "session_id")
"""What requests with a common beginning have in common (OpenAI's API reference, "Create a model
response"): Codex, opencode and others put the id of the conversation there. The other one is
OpenRouter's."""
MAX_ID: Final = 200


def conversation_of(request: MessagesRequest) -> Identity | None:
    """The conversation that a client names, by a header line before a field of the body."""
    found: object = next((request.named[n] for n in HEADERS if n in request.named), None)
    if found is None and request.original is not None and request.original.body:
        get = request.original.get
        found = next((value for name in FIELDS if (value := get(name))), None)
    if isinstance(found, str) and 0 < len(found) <= MAX_ID and found.isprintable():
        return Identity(found)
    return None


def thread_of(request: MessagesRequest) -> Identity | None:
    """The thread of a subagent of Codex within its session; None where it is no subagent's."""
    session, thread = request.header("session-id"), request.header(THREAD)
    if not session or not thread or thread == session:
        return None
    parent = request.header(PARENT)
    return Identity(session, thread, None if parent == session else parent)
