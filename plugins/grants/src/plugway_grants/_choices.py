"""Finds forbidden choices in requests, by the names of their fields, headers and parameters.

Names known to be harmless pass unchanged, names that look like a choice are rejected on every path,
and unknown ones are removed before anything is sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from plugway_grants._addresses import any_private_address, has_private_address
from plugway_grants._references import references
from plugway_wire.json import as_list, as_object


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FIELDS: Final = _words(
    # The Messages API.
    "cache_control context_management diagnostics max_tokens messages metadata model output_config"
    " output_format safeguards stop_sequences stream system temperature thinking tool_choice tools"
    " top_k top_p"
    # Fields of the other APIs that clients speak, and servers' extensions to them.
    " audio best_of chat_template_kwargs dry_allowed_length dry_base dry_multiplier"
    " dry_penalty_last_n dry_sequence_breakers enable_thinking frequency_penalty function_call"
    " functions grammar guided_choice guided_grammar guided_json guided_regex include"
    " include_reasoning include_stop_str_in_output input instructions json_schema logit_bias"
    " logprobs max_completion_tokens max_output_tokens max_tool_calls min_p min_tokens mirostat"
    " mirostat_eta mirostat_tau modalities moderation n parallel_tool_calls prediction"
    " presence_penalty prompt_cache_key prompt_cache_options prompt_cache_retention prompt_mode"
    " random_seed reasoning reasoning_effort reasoning_format repeat_last_n repeat_penalty"
    " repetition_penalty response_format safe_prompt safety_identifier seed skip_special_tokens"
    " stop stop_token_ids stream_options structured_outputs text top_a top_logprobs truncation"
    " typical_p user verbosity xtc_probability xtc_threshold"
    # Fields of an API that accepts two spellings.
    " contents generation_config generationConfig safety_settings safetySettings"
    " system_instruction systemInstruction tool_config toolConfig"
)
"""Harmless body fields of any API. The content of `tools`, `messages`, `input` and `metadata` is
checked too."""

SETTINGS: Final = _words(
    "audio cache_control context_management diagnostics generationConfig generation_config"
    " moderation output_config output_format prediction reasoning response_format stream_options"
    " structured_outputs text thinking tool_choice"
)
"""Those `FIELDS` whose members are checked too. `safeguards` is not among them: Claude Code sends
the user's directory and permissions in it."""
_FREE: Final = _words(
    "arguments content input json parameters properties responseJsonSchema responseSchema"
    " response_json_schema response_schema schema structural_tag"
)
"""Members with names that the client chooses, such as schemas and arguments; not checked."""
_FREE_CONTENT: Final = _FREE | {"args", "response"}
"""The same in messages, with the names that go with `contents`."""

VALUES: Final[Mapping[str, tuple[Any, ...]]] = {
    "background": (None, False),
    "inference_geo": (None, "global"),
    "service_tier": (None, "auto", "default", "standard", "standard_only"),
    "speed": (None, "standard"),
    "store": (None, False, True),
}
"""Fields that choose a price or a region, with the values that choose nothing."""

HEADERS: Final = _words(
    "accept accept-language anthropic-beta anthropic-dangerous-direct-browser-access"
    " anthropic-version content-type traceparent tracestate user-agent x-app x-client-request-id"
    " x-request-id"
)
HEADER_PREFIXES: Final = ("plugway-", "x-claude-code-", "x-stainless-")
"""Prefixes of headers that pass unchanged, in addition to `HEADERS`."""
_HARMLESS: Final = frozenset(("idempotency-key", "sec-websocket-key"))

QUERY: Final = (("beta", "true"),)
"""Query parameters that are passed on."""

_STEERING: Final = _words(
    "account accounts adapter adapters advisor apibase apikey auth authorization base baseurl"
    " budget callback callbacks config configs connector container containers cost credential"
    " credentials custom customer deployment deployments engine fallback fallbacks guardrail"
    " guardrails key keys lora loras model models org organization partner partners plugin"
    " plugins preset presets price"
    " pricing project projects provider providers proxy region regions route router routes routing"
    " secret skill skills subscription tags target targets tenant tier token transform transforms"
    " virtual workspace"
)
"""Words in the names of headers and query parameters that make a forbidden choice."""
_STEERING_FIELDS: Final = _STEERING | _words(
    "additional api body conversation endpoint endpoints extra geo header headers host hosts"
    " location mcp order params prompt query response server servers service speed store"
    " uri url vector web"
)
"""The same for body fields and metadata."""
_STEERING_TOOLS: Final = _STEERING | _words(
    "corpora corpus datastore datastores headers rag retrieval server servers store stores url"
    " vector"
)
"""The same for settings of server tools."""
_STEERING_SETTINGS: Final = _STEERING_TOOLS - _words("budget config configs cost custom tags token")
"""The same for members of `SETTINGS` fields and of client tools."""
_WORDS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")

_TOOL_TYPES: Final = re.compile(
    r"(?:function|custom|namespace|apply_patch|bash|code_execution|code_interpreter|computer"
    r"|local_shell|memory|shell|str_replace_based_edit_tool|text_editor|tool_search|web_fetch"
    r"|web_search)(?:_[a-z0-9_]+)?"
)
"""Types of tools that use no other model or server and read no stored data."""
_CLIENT_TOOLS: Final = (None, "function", "custom")
_CLIENT_TOOL_MEMBERS: Final = _words(
    "allowed_callers behavior cache_control custom defer_loading description eager_input_streaming"
    " format function functionDeclarations function_declarations input_examples input_schema name"
    " output_schema parameters parametersJsonSchema parameters_json_schema response"
    " responseJsonSchema response_json_schema strict tools type"
)
"""Allowed members of client tools; a server might run others."""
_DECLARATIONS: Final = ("custom", "function", "functionDeclarations", "function_declarations")
"""Members that contain the description of the tool."""
_SERVER_TOOLS: Final = _words(
    "codeExecution code_execution computerUse computer_use googleMaps google_maps googleSearch"
    " google_search googleSearchRetrieval google_search_retrieval urlContext url_context"
)
"""Server tools without a `type`, in the API that has `contents`; they read no stored data."""
_STORED: Final = ("container_upload", "item_reference")
_STORED_IDS: Final = _words(
    "container_id file_id file_ids skill_id skill_ids vector_store_id vector_store_ids"
)
_STORED_SOUND: Final = ("audio", "voice")
"""Members that reference sound stored at the upstream if they have an `id`."""
_CITATIONS: Final = (
    *("search_result", "search_result_location", "url_citation", "web_fetch_result"),
    *("web_search_call", "web_search_result", "web_search_result_location"),
)
"""Types of blocks that cite sources. Addresses in these members of them are not fetched:"""
_CITED: Final = ("action", "source", "url", "url_citation")
_CONTENT_FIELDS: Final = (
    *("contents", "input", "instructions", "messages", "system", "systemInstruction"),
    "system_instruction",
)
"""Fields with the content of the conversation."""
_DEPTH: Final = 24
"""Levels of nested content that are checked; deeper content is rejected."""


def choice_in(body: Mapping[str, Any]) -> str | None:
    """The first place in a body that makes a forbidden choice."""
    return next(_choices(body), None)


def choice_in_messages(messages: Any) -> str | None:
    """The first place in translated messages that makes a forbidden choice: a dialect may have read
    content from members that are not checked in its body."""
    return next(_in_content(messages, "messages", _DEPTH), None)


def is_known(field: str) -> bool:
    """Whether a body field is known to be harmless."""
    return field in FIELDS or field in VALUES


def passes(header: str) -> bool:
    """Whether a header is passed on."""
    return header in HEADERS or header.startswith(HEADER_PREFIXES)


def is_choice(header: str) -> bool:
    """Whether the name of a header looks like a forbidden choice."""
    return not passes(header) and header not in _HARMLESS and _steers(header, _STEERING)


def is_choice_in_query(name: str) -> bool:
    """Whether the name of a query parameter looks like a forbidden choice."""
    return name != "token" and _steers(name, _STEERING)


def _steers(name: str, words: frozenset[str]) -> bool:
    """Whether a name contains one of `words`: `api_base` and `API-BASE` contain `base`."""
    found = {word.lower() for word in _WORDS.findall(name)}
    return not words.isdisjoint(found) or name.lower() in words


def _choices(body: Mapping[str, Any]) -> Iterator[str]:
    """Places in a body that make a forbidden choice."""
    for name, value in body.items():
        if name in VALUES:
            if value not in VALUES[name]:
                yield name
        elif name not in FIELDS and _steers(name, _STEERING_FIELDS):
            yield name
        elif name in SETTINGS:
            yield from _in_settings("", value, name, _DEPTH, _STEERING_SETTINGS)
    yield from _in_metadata(body.get("metadata"), "metadata")
    others = _SERVER_TOOLS if _is_of_contents(body) else frozenset[str]()
    yield from _in_tools(body.get("tools"), "tools", others)
    yield from _in_tools(body.get("functions"), "functions")
    yield from references(body.get("input"))
    for name in _CONTENT_FIELDS:
        yield from _in_content(body.get(name), name, _DEPTH)


def _is_of_contents(body: Mapping[str, Any]) -> bool:
    return "contents" in body and not body.keys() & {"messages", "input"}


def _in_metadata(value: Any, place: str) -> Iterator[str]:
    """Forbidden choices in metadata; values other than strings may be instructions to a server."""
    for name, inner in as_object(value).items():
        plain = inner is None or isinstance(inner, str)
        if not plain or (name != "user_id" and _steers(name, _STEERING_FIELDS)):
            yield f"{place}.{name}"


def _in_tools(value: Any, place: str, others: frozenset[str] = frozenset()) -> Iterator[str]:
    """Forbidden choices in tools: server tools may use another model or server, or stored data."""
    tools = [value] if isinstance(value, dict) else as_list(value)  # Google accepts both
    for at, item in enumerate(tools):
        tool, here = as_object(item), f"{place}[{at}]"
        kind = tool.get("type")
        if kind is not None and not (isinstance(kind, str) and _TOOL_TYPES.fullmatch(kind)):
            yield f"{here}.type"
        yield from _in_tools(tool.get("tools"), f"{here}.tools")
        if kind in _CLIENT_TOOLS:
            yield from _in_client_tool(tool, here, others if kind is None else frozenset())
            continue
        for name, inner in tool.items():
            if name not in ("tools", "name", "description"):
                yield from _in_settings(name, inner, f"{here}.{name}", _DEPTH)


def _in_client_tool(tool: Mapping[str, Any], place: str, others: frozenset[str]) -> Iterator[str]:
    """Members of a client tool that a server might run."""
    for name, inner in tool.items():
        here = f"{place}.{name}"
        if name in others:
            yield from _in_settings("", inner, here, _DEPTH)
        elif name not in _CLIENT_TOOL_MEMBERS:
            yield here
        elif name in _DECLARATIONS:
            for one in as_list(inner) or [inner]:
                yield from _in_client_tool(as_object(one), here, frozenset())


def _in_settings(
    name: str, value: Any, place: str, depth: int, words: frozenset[str] = _STEERING_TOOLS
) -> Iterator[str]:
    inside = as_object(value)
    new = name == "container" and inside.get("type") == "auto"
    if not new and (_is_stored(name, value) or _steers(name, words)):
        yield place
    if not depth or (name in _FREE and words is _STEERING_SETTINGS):
        return
    for key, inner in inside.items():
        yield from _in_settings(key, inner, f"{place}.{key}", depth - 1, words)
    for at, inner in enumerate(as_list(value)):
        yield from _in_settings("", inner, f"{place}[{at}]", depth - 1, words)


def _in_content(value: Any, place: str, depth: int) -> Iterator[str]:
    """References in content to data stored at the upstream, which belongs to others."""
    if not depth:
        if isinstance(value, dict | list):
            yield place  # too deep to be checked
        return
    if isinstance(value, dict):
        yield from _in_block(as_object(value), place, depth)
    for at, item in enumerate(as_list(value)):
        here = f"{place}[{at}]"
        if isinstance(item, list):
            yield from _in_content(item, here, depth - 1)
        else:
            yield from _in_block(as_object(item), here, depth)


def _in_block(block: Mapping[str, Any], place: str, depth: int) -> Iterator[str]:
    kind = block.get("type")
    if kind in _STORED:
        yield f"{place}.type"
    yield from _in_tools(block.get("tools"), f"{place}.tools")
    for name, inner in block.items():
        here = f"{place}.{name}"
        if _is_stored(name, inner):
            yield here
        elif kind in _CITATIONS and name in _CITED and (isinstance(inner, str) or name != "source"):
            continue
        elif isinstance(inner, str):
            if has_private_address(name, inner):
                yield here
        elif name == "content" or (name != "tools" and name not in _FREE_CONTENT):
            if any_private_address(name, as_list(inner)):
                yield here
            yield from _in_content(inner, here, depth - 1)


def _is_stored(name: str, value: Any) -> bool:
    """Whether a member references data stored at the upstream."""
    if name in _STORED_SOUND:
        return as_object(value).get("id") is not None
    return name in _STORED_IDS and value is not None
