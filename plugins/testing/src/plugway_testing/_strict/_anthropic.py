"""Rules of the Messages API for request fields. `_anthropic_turns` has those for the conversation.

In docstrings, "report" means that public issues quote this error of Anthropic's API; "errors page"
is platform.claude.com/docs/en/api/errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from plugway import as_list, as_object
from plugway_testing._strict._anthropic_data import (
    BETAS,
    CHOICE,
    COUNTED,
    ENUMS,
    FIELDS,
    THINKING,
    TOOL,
    Model,
    model_of,
)
from plugway_testing._strict._anthropic_turns import TURNS
from plugway_testing._strict._rules import Refusal, Request, Rule, marked, objects, schemas

_EXTRA: Final = "Extra inputs are not permitted"
_NAME: Final = "^[a-zA-Z0-9_-]{1,128}$"
_KEY: Final = "^[a-zA-Z0-9_.-]{1,64}$"
_UNIONS: Final = ("oneOf", "allOf", "anyOf")
_OPEN_TYPES: Final = ("custom", None)
_EMAIL: Final = re.compile(r"[\w.+-]+@[\w-]+\.\w+")
_NOT_STRICT: Final = {
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "string": ("minLength", "maxLength"),
    "array": ("maxItems", "uniqueItems"),
    "object": ("minProperties", "maxProperties", "patternProperties", "unevaluatedProperties"),
}
"""Keywords that structured outputs do not support (build-with-claude/structured-outputs, "JSON
Schema limitations")."""
_BINDS_EFFORT: Final = ("opus-5", "sonnet-5-5", "haiku-5-5")
"""Models that cannot reduce thinking at the two highest efforts ("Thinking", table of models)."""


def _counts(request: Request) -> bool:
    return "count_tokens" in request.path


def version_header(request: Request) -> Iterator[Refusal]:
    """`anthropic-version` is required: api/versioning; report envoyproxy/ai-gateway#1909."""
    if not request.headers.get("anthropic-version"):
        yield Refusal("anthropic-version: header is required")


def key_header(request: Request) -> Iterator[Refusal]:
    """A key is required: api/overview ("Authentication"), which quotes the 401."""
    if not (request.headers.get("x-api-key") or request.headers.get("authorization")):
        yield Refusal("x-api-key header is required", 401, "authentication_error")


def content_type(request: Request) -> Iterator[Refusal]:
    """`content-type: application/json` is required: api/overview."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        yield Refusal("content-type: Input should be 'application/json'")


def needed_fields(request: Request) -> Iterator[Refusal]:
    """`model`, `messages` and `max_tokens` (SDK `message_create_params.py`); at least one turn."""
    needed = ("model", "messages") if _counts(request) else ("model", "messages", "max_tokens")
    for name in needed:
        if name not in request.body:
            yield Refusal(f"{name}: Field required")
    if request.body.get("messages") == []:
        yield Refusal("messages: at least one message is required")


def known_fields(request: Request) -> Iterator[Refusal]:
    """Only fields of the SDK's `message_create_params.py` and its beta are allowed; the API reports
    others with pydantic's message."""
    for name in request.body.keys() - (COUNTED if _counts(request) else FIELDS):
        yield Refusal(f"{name}: {_EXTRA}")


def beta_fields(request: Request) -> Iterator[Refusal]:
    """Beta fields require their beta: code.claude.com llm-gateway page ("a beta header and its
    body field travel together")."""
    betas = request.headers.get("anthropic-beta", "")
    for name, beta in BETAS.items():
        if name in request.body and beta not in betas:
            yield Refusal(f"{name}: {_EXTRA}")


def metadata(request: Request) -> Iterator[Refusal]:
    """Only `user_id` of at most 256 characters, not an e-mail address: API reference, `metadata`
    (`maxLength 256`, as vercel/ai#12419 cites it); BerriAI/litellm#11432 (addresses)."""
    found = as_object(request.body.get("metadata"))
    user = found.get("user_id")
    for name in found.keys() - {"user_id"}:
        yield Refusal(f"metadata.{name}: {_EXTRA}")
    if isinstance(user, str) and len(user) > 256:
        yield Refusal("metadata.user_id: String should have at most 256 characters")
    if isinstance(user, str) and _EMAIL.search(user):
        yield Refusal("metadata.user_id: user_id appears to contain an email address")


def enums(request: Request) -> Iterator[Refusal]:
    """Values of the SDK's literals."""
    for path, values in ENUMS.items():
        value: Any = request.body
        for name in path.split("."):
            value = as_object(value).get(name)
        if value is not None and value not in values:
            expected = ", ".join(f"'{v}'" for v in values[:-1]) + f" or '{values[-1]}'"
            yield Refusal(f"{path}: Input should be {expected}")


def ranges(request: Request) -> Iterator[Refusal]:
    """`temperature` and `top_p` from 0 to 1, `top_k` and `max_tokens` from 0: API reference."""
    for name, most in (("temperature", 1), ("top_p", 1), ("top_k", None), ("max_tokens", None)):
        value = request.body.get(name)
        if name not in request.body or (name in ("temperature", "top_p") and value is None):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield Refusal(f"{name}: Input should be a valid number")
        elif value < 0 or (most is not None and value > most):
            bound = "greater than or equal to 0" if value < 0 else f"less than or equal to {most}"
            yield Refusal(f"{name}: Input should be {bound}")


def stop_sequences(request: Request) -> Iterator[Refusal]:
    """Stop sequences must not be blank: reports from Copilot and LiteLLM users."""
    if any(not str(stop).strip() for stop in as_list(request.body.get("stop_sequences"))):
        yield Refusal("stop_sequences: each stop sequence must contain non-whitespace")


def thinking_form(request: Request) -> Iterator[Refusal]:
    """Fields of each kind, and a budget from 1,024 below `max_tokens`: SDK
    `thinking_config_*_param.py`, "Extended thinking"."""
    thinking = as_object(request.body.get("thinking"))
    kind, budget = str(thinking.get("type")), thinking.get("budget_tokens")
    if kind not in THINKING:
        return
    for name in thinking.keys() - THINKING[kind]:
        yield Refusal(f"thinking.{kind}.{name}: {_EXTRA}")
    if kind != "enabled":
        return
    most = request.body.get("max_tokens")
    if not isinstance(budget, int):
        yield Refusal("thinking.enabled.budget_tokens: Field required")
    elif budget < 1024:
        text = "Input should be greater than or equal to 1024"
        yield Refusal(f"thinking.enabled.budget_tokens: {text}")
    elif isinstance(most, int) and budget >= most and not _interleaved(request):
        yield Refusal("`max_tokens` must be greater than `thinking.budget_tokens`.")


def _interleaved(request: Request) -> bool:
    return "interleaved-thinking-" in request.headers.get("anthropic-beta", "")


def beside_thinking(request: Request) -> Iterator[Refusal]:
    """With thinking: no forced tool, temperature only 1, no `top_k`, `top_p` at least 0.95:
    "Extended thinking" ("Feature compatibility"); report mastra-ai/mastra#7507."""
    if as_object(request.body.get("thinking")).get("type") not in ("enabled", "adaptive"):
        return
    if as_object(request.body.get("tool_choice")).get("type") in ("any", "tool"):
        yield Refusal("Thinking may not be enabled when tool_choice forces tool use.")
    if request.body.get("temperature") not in (None, 1):
        text = "may only be set to 1 when thinking is enabled or in adaptive mode"
        yield Refusal(f"`temperature` {text}.")
    if request.body.get("top_k") is not None:
        yield Refusal("`top_k` must be unset when thinking is enabled or in adaptive mode.")
    top_p = request.body.get("top_p")
    if isinstance(top_p, int | float) and top_p < 0.95:
        text = "must be greater than or equal to 0.95 or unset when thinking is enabled"
        yield Refusal(f"`top_p` {text} or in adaptive mode.")


def model_takes(request: Request) -> Iterator[Refusal]:
    """Limits of a model generation, from `MODELS`; Oaklight/llm-rosetta#289 (effort)."""
    model = model_of(request.model)
    if model is None:
        return
    yield from _thinking_of(request, model)
    yield from _sampling_of(request, model)
    if (
        as_object(request.body.get("tool_choice")).get("type") in ("any", "tool")
        and not model.forced
    ):
        yield Refusal('tool_choice: type "tool" and "any" are not supported for this model.')
    most = request.body.get("max_tokens")
    if isinstance(most, int) and most > model.output:
        text = "which is the maximum allowed number of output tokens for"
        yield Refusal(f"max_tokens: {most} > {model.output}, {text} {request.model}")
    yield from _effort_of(request, model)


def _effort_of(request: Request, model: Model) -> Iterator[Refusal]:
    effort = as_object(request.body.get("output_config")).get("effort")
    if effort is None or model.efforts is None or effort in model.efforts:
        return
    if not model.efforts:
        yield Refusal("This model does not support the effort parameter.")
    else:
        text = f'"output_config.effort" value "{effort}" is not supported for this model'
        yield Refusal(text)


def _thinking_of(request: Request, model: Model) -> Iterator[Refusal]:
    kind = as_object(request.body.get("thinking")).get("type")
    effort = as_object(request.body.get("output_config")).get("effort")
    if kind is not None and kind not in model.thinking:
        if kind == "adaptive":
            yield Refusal("adaptive thinking is not supported on this model")
        else:
            use = 'Use "thinking.type.adaptive" and "output_config.effort"'
            text = f'"thinking.type.{kind}" is not supported for this model. {use}'
            yield Refusal(f"{text} to control thinking behavior.")
    most = effort in ("xhigh", "max") and any(known in request.model for known in _BINDS_EFFORT)
    if kind in ("disabled", "between_tools") and most:
        text = f'"thinking.type" value "{kind}" is not supported with "output_config.effort"'
        yield Refusal(f'{text} value "{effort}" for this model')


def _sampling_of(request: Request, model: Model) -> Iterator[Refusal]:
    if model.samples == 0:
        for name, usual in (("temperature", 1), ("top_p", 1), ("top_k", None)):
            if request.body.get(name) not in (None, usual):
                yield Refusal(f"`{name}` is deprecated for this model.")
    elif model.samples == 1 and {"temperature", "top_p"} <= request.body.keys():
        text = "`temperature` and `top_p` cannot both be specified for this model."
        yield Refusal(f"{text} Please use only one.")


def tool_form(request: Request) -> Iterator[Refusal]:
    """Fields; names match `^[a-zA-Z0-9_-]{1,128}$` and are unique: SDK `tool_param.py`; reports
    ("String should match pattern", "Tool names must be unique")."""
    names: list[str] = []
    for index, tool in objects(request.body.get("tools")):
        names.append(str(tool.get("name")))
        if tool.get("type") not in _OPEN_TYPES:
            continue
        place = f"tools.{index}.custom"
        for name in tool.keys() - TOOL:
            yield Refusal(f"{place}.{name}: {_EXTRA}")
        if not re.fullmatch(_NAME[1:-1], names[-1]):
            yield Refusal(f"{place}.name: String should match pattern '{_NAME}'")
        if not isinstance(tool.get("input_schema"), dict):
            yield Refusal(f"{place}.input_schema: Field required")
    if len(set(names)) < len(names):
        yield Refusal("tools: Tool names must be unique.")


def tool_schemas(request: Request) -> Iterator[Refusal]:
    """`type: object`, no union at the root, property names `^[a-zA-Z0-9_.-]{1,64}$`, syntax of
    draft 2020-12: reports anthropics/claude-code#40075, modelcontextprotocol/go-sdk#169."""
    for index, tool in objects(request.body.get("tools")):
        schema = as_object(tool.get("input_schema"))
        if tool.get("type") not in _OPEN_TYPES or "input_schema" not in tool:
            continue
        place = f"tools.{index}.custom.input_schema"
        if schema.get("type") != "object":
            words = "Field required" if "type" not in schema else "Input should be 'object'"
            yield Refusal(f"{place}.type: {words}")
        if any(name in schema for name in _UNIONS):
            text = "input_schema does not support oneOf, allOf, or anyOf at the top level"
            yield Refusal(f"{place}: {text}")
        if any(not re.fullmatch(_KEY[1:-1], key) for key in as_object(schema.get("properties"))):
            yield Refusal(f"{place}.properties: Property keys should match pattern '{_KEY}'")
        if any(map(_of_an_older_draft, (inner for _, inner in schemas(schema)))):
            text = "JSON schema is invalid. It must match JSON Schema draft 2020-12"
            yield Refusal(f"{place}: {text} (https://json-schema.org/draft/2020-12).")


def _of_an_older_draft(schema: dict[str, Any]) -> bool:
    wrong = any(isinstance(schema.get(n), bool) for n in ("exclusiveMinimum", "exclusiveMaximum"))
    lists = all(isinstance(schema.get(name, []), list) for name in ("required", "enum"))
    return wrong or not lists or isinstance(schema.get("items"), list)


def strict_schemas(request: Request) -> Iterator[Refusal]:
    """Schemas of `strict` tools and of `output_config.format` close every object and have no
    bounds: "Structured outputs" ("JSON Schema limitations"), which quotes the 400."""
    config = as_object(request.body.get("output_config"))
    wanted = as_object(config.get("format") or request.body.get("output_format"))
    found = [("output_config.format.schema", wanted.get("schema"))]
    for index, tool in objects(request.body.get("tools")):
        if tool.get("strict") is True:
            found.append((f"tools.{index}.custom", tool.get("input_schema")))
    for place, schema in found:
        for _, inner in schemas(schema):
            kind = inner.get("type")
            if kind == "object" and inner.get("additionalProperties") is not False:
                text = "'additionalProperties' must be explicitly set to false"
                yield Refusal(f"{place}: For 'object' type, {text}")
            for name in _NOT_STRICT.get(str(kind), ()):
                if name in inner:
                    text = f"For '{kind}' type, property '{name}' is not supported"
                    yield Refusal(f"{place}: {text}")


def tool_choice(request: Request) -> Iterator[Refusal]:
    """Only with tools, and must name one of them: reports ("tool_choice may only be specified while
    providing tools", "Tool '…' not found in provided tools"); SDK `tool_choice_*_param.py`."""
    choice = as_object(request.body.get("tool_choice"))
    names = [tool.get("name") for _, tool in objects(request.body.get("tools"))]
    kind = str(choice.get("type"))
    if choice and not names:
        yield Refusal(f"tool_choice.{kind} may only be specified while providing tools")
    for name in choice.keys() - CHOICE.get(kind, frozenset(choice)):
        yield Refusal(f"tool_choice.{kind}.{name}: {_EXTRA}")
    if kind == "tool" and names and choice.get("name") not in names:
        yield Refusal(f"Tool '{choice.get('name')}' not found in provided tools")


def deferred_tools(request: Request) -> Iterator[Refusal]:
    """Not all tools may be deferred, and a deferred tool has no cache marker: "Tool search tool";
    report anthropics/claude-code#30920."""
    tools = [tool for _, tool in objects(request.body.get("tools"))]
    for tool in tools:
        if tool.get("defer_loading") is True and tool.get("cache_control"):
            text = "cannot have both defer_loading=true and cache_control set."
            more = "Tools with defer_loading cannot use prompt caching."
            yield Refusal(f"Tool '{tool.get('name')}' {text} {more}")
    if tools and all(tool.get("defer_loading") is True for tool in tools):
        yield Refusal("At least one tool must have defer_loading=false.")


def cache_marks(request: Request) -> Iterator[Refusal]:
    """At most 4, `ephemeral` for 5m or 1h, longer ones first; not on thinking or empty texts:
    "Prompt caching"; reports anthropics/claude-code#8901 and others."""
    order = {"tools": 0, "system": 1, "messages": 2}
    marks = [
        (place, item) for place, item in marked(request.body, "cache_control") if _is_mark(place)
    ]
    marks = [(place, item) for place, item in marks if item["cache_control"] is not None]
    marks.sort(key=lambda found: order.get(found[0].split(".")[0], 3))
    short = False
    for place, item in marks:
        mark = as_object(item["cache_control"])
        where = f"{place}.cache_control" if place else "cache_control"
        if mark.get("type") != "ephemeral" or mark.get("ttl", "5m") not in ("5m", "1h"):
            yield Refusal(f"{where}: Input should be of type 'ephemeral' with ttl '5m' or '1h'")
        if item.get("type") == "text" and item.get("text") == "":
            yield Refusal(f"{place}: cache_control cannot be set for empty text blocks")
        if item.get("type") in ("thinking", "redacted_thinking"):
            yield Refusal(f"{place}.{item['type']}.cache_control: {_EXTRA}")
        if mark.get("ttl") == "1h" and short:
            text = "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control"
            yield Refusal(f"{where}.ttl: {text} block.")
        short |= bool(place) and mark.get("ttl", "5m") == "5m"
    if len(marks) > 4:
        text = "A maximum of 4 blocks with cache_control may be provided."
        yield Refusal(f"{text} Found {len(marks)}.")


def _is_mark(place: str) -> bool:
    """Whether it is a cache marker rather than a name in a schema or an argument."""
    return ".input_schema" not in place and ".input." not in f"{place}."


RULES: Final[tuple[Rule, ...]] = (
    version_header,
    key_header,
    content_type,
    needed_fields,
    known_fields,
    beta_fields,
    metadata,
    enums,
    ranges,
    stop_sequences,
    thinking_form,
    beside_thinking,
    model_takes,
    tool_form,
    tool_schemas,
    strict_schemas,
    tool_choice,
    deferred_tools,
    cache_marks,
    *TURNS,
)
