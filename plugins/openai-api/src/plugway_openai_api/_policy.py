"""Tables: how each field of OpenAI's requests is treated in translation to the Messages API.

`preserve` copies the field; `translate` and `emulate` are done by the translators; `drop` leaves it
out and notes that on the receipt; `reject` returns a 400, because the client would wait for
something that the reply cannot contain, or would get less than it requires. The tables do not apply
if the upstream supports the client's API and receives its bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway import RequestRejected
from plugway_openai_api._fields import unsupported
from plugway_translation import Notes, Rule

_NONE: Final = "the Messages API has none"
_HINT: Final = "a hint to OpenAI's servers"
_CACHE: Final = "the backend decides what it caches"
_STATE: Final = "nothing is stored here: send the whole conversation"

_SHARED: Final[Mapping[str, Rule]] = {
    "metadata": Rule("drop", "labels for OpenAI's dashboard", ({},)),
    "model": Rule("preserve"),
    "moderation": Rule("reject", "the gateway runs no moderation"),
    "parallel_tool_calls": Rule("translate", "`tool_choice.disable_parallel_tool_use`"),
    "prompt_cache_key": Rule("drop", _CACHE, ("",)),
    "prompt_cache_options": Rule("drop", _CACHE, ({},)),
    "prompt_cache_retention": Rule("drop", _CACHE),
    "safety_identifier": Rule("translate", "`metadata.user_id`"),
    "service_tier": Rule("drop", "tiers of OpenAI", ("auto", "default")),
    "stream": Rule("preserve"),
    "stream_options": Rule("translate", "`include_usage` adds the last chunk with the usage"),
    "temperature": Rule("translate", "values above 1 become 1, the maximum in the Messages API"),
    "tool_choice": Rule("translate", "`allowed_tools` leaves the other tools out"),
    "tools": Rule("translate", "`custom` tools become functions with one text"),
    "top_p": Rule("preserve"),
    "user": Rule("translate", "`metadata.user_id`"),
}

CHAT: Final[Mapping[str, Rule]] = {
    **_SHARED,
    "audio": Rule("reject", "audio output is not supported"),
    "frequency_penalty": Rule("drop", _NONE, (0,)),
    "function_call": Rule("reject", "deprecated; use `tool_choice`"),
    "functions": Rule("reject", "deprecated; use `tools`", ([],)),
    "logit_bias": Rule("drop", _NONE, ({},)),
    "logprobs": Rule("reject", "log probabilities are not supported", (False,)),
    "max_completion_tokens": Rule("translate", "`max_tokens`"),
    "max_tokens": Rule("preserve", "missing: the model's limit, or an option"),
    "messages": Rule("translate"),
    "modalities": Rule("reject", "only text output is supported", (["text"], [])),
    "n": Rule("reject", "only one choice is supported; send another request", (1,)),
    "prediction": Rule("drop", _HINT),
    "presence_penalty": Rule("drop", _NONE, (0,)),
    "reasoning_effort": Rule("translate", "`thinking` and `output_config.effort`"),
    "response_format": Rule(
        "translate", "`output_config.format`; `json_object` is requested in the prompt"
    ),
    "seed": Rule("drop", _NONE + ": answers may differ"),
    "stop": Rule("translate", "`stop_sequences`"),
    "store": Rule("drop", "nothing is stored here", (False,)),
    "top_k": Rule("preserve", "not OpenAI's, but sent by clients of vLLM and llama.cpp"),
    "top_logprobs": Rule("reject", "log probabilities are not supported", (0,)),
    "verbosity": Rule("drop", _NONE, ("medium",)),
    "web_search_options": Rule("reject", "the gateway runs no search"),
}

RESPONSES: Final[Mapping[str, Rule]] = {
    **_SHARED,
    "access_programs": Rule("drop", "OpenAI's access programs", ({},)),
    "background": Rule(
        "reject", "background mode is not supported: nothing is stored here", (False,)
    ),
    "client_metadata": Rule("drop", "Codex's client metadata, for OpenAI's servers", ({},)),
    "context_management": Rule("drop", "OpenAI's own compaction", ([],)),
    "conversation": Rule("reject", _STATE),
    "image": Rule("drop", _HINT, ({},)),
    "include": Rule("translate", "reasoning always includes `encrypted_content`"),
    "input": Rule("translate"),
    "instructions": Rule("translate", "`system`"),
    "max_output_tokens": Rule(
        "translate", "`max_tokens`; missing: the model's limit, or an option"
    ),
    "max_tool_calls": Rule("drop", "it counts calls to OpenAI's own tools"),
    "previous_response_id": Rule("reject", _STATE),
    "prompt": Rule("reject", "OpenAI stores the templates; send `instructions` and `input`"),
    "reasoning": Rule("translate", "`thinking` and `output_config.effort`"),
    "store": Rule("drop", "only items of recent replies are kept, in memory", (False,)),
    "text": Rule("translate", "`format` as in Chat; `verbosity` is dropped"),
    "top_logprobs": Rule("reject", "log probabilities are not supported", (0,)),
    "truncation": Rule("drop", "a prompt that is too long is rejected", ("disabled",)),
}


def note_drops(body: Mapping[str, Any], table: Mapping[str, Rule], notes: Notes) -> None:
    """Note every dropped field of `body`, including unknown ones."""
    for name, value in body.items():
        rule = table.get(name)
        if rule is None:
            notes.add(name[:64], "drop", "unknown field")
        elif rule.action == "drop" and _asks(value, rule):
            notes.add(name, "drop", rule.because)


def refusal(body: Mapping[str, Any], table: Mapping[str, Rule]) -> RequestRejected | None:
    """The 400 for the first rejected field of `body`, if any."""
    for name, value in body.items():
        rule = table.get(name)
        if rule is not None and rule.action == "reject" and _asks(value, rule):
            if name == "previous_response_id":
                shown = str(value)[:80]
                message = (
                    f"Previous response with id '{shown}' not found: `previous_response_id` is not "
                    f"supported: {rule.because}."
                )
                return RequestRejected(message, retry=False)
            return unsupported(name, rule.because)
    return None


def _asks(value: Any, rule: Rule) -> bool:
    return value is not None and value not in rule.nothing
