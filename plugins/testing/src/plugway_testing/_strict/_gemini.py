"""Rules of Gemini's `generateContent`.

Sources: ai.google.dev/api/generate-content and /api/caching (the messages and their fields),
ai.google.dev/gemini-api/docs: "Function calling", "Thinking", "Thought signatures", "Gemini 3";
error messages quoted in public reports.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from plugway import as_list, as_object
from plugway_testing._strict._gemini_schema import declared
from plugway_testing._strict._rules import Object, Refusal, Request, Rule, objects, words

MESSAGES: Final[Mapping[str, frozenset[str]]] = {
    name: frozenset(fields.split())
    for name, fields in {
        "": "contents tools toolConfig safetySettings systemInstruction generationConfig "
        "cachedContent model store serviceTier generateContentRequest",
        "content": "role parts",
        "part": "text thought thoughtSignature inlineData fileData functionCall functionResponse "
        "executableCode codeExecutionResult videoMetadata partMetadata mediaResolution toolCall "
        "toolResponse",
        "functionCall": "id name args",
        "functionResponse": "id name response willContinue scheduling parts",
        "inlineData": "mimeType data displayName",
        "fileData": "mimeType fileUri displayName",
        "tool": "functionDeclarations googleSearch googleSearchRetrieval codeExecution urlContext "
        "computerUse googleMaps fileSearch mcpServers",
        "functionDeclaration": "name description parameters parametersJsonSchema response "
        "responseJsonSchema behavior",
        "functionCallingConfig": "mode allowedFunctionNames",
        "generationConfig": "stopSequences responseMimeType responseSchema _responseJsonSchema "
        "responseJsonSchema responseModalities candidateCount maxOutputTokens temperature topP "
        "topK seed presencePenalty frequencyPenalty responseLogprobs logprobs "
        "enableEnhancedCivicAnswers speechConfig thinkingConfig imageConfig mediaResolution",
        "thinkingConfig": "includeThoughts thinkingBudget thinkingLevel",
    }.items()
}
"""Fields of each message of the API; the empty name stands for the request."""
_DATA: Final = words(
    "text inlineData fileData functionCall functionResponse executableCode codeExecutionResult "
    "toolCall toolResponse"
)
_SNAKE: Final = re.compile(r"(?<=[a-z])_([a-z])")
_FREE: Final = words("args parametersJsonSchema properties response responseJsonSchema")
"""Fields with names that the client chooses."""
_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")
_LEVELS: Final = ("minimal", "low", "medium", "high")
_BUDGETS: Final = {"flash-lite": (512, 24576), "flash": (0, 24576), "pro": (128, 32768)}
_VERSION: Final = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
_INVALID: Final = "INVALID_ARGUMENT"
_REQUEST: Final = "* GenerateContentRequest"


def in_camel_case(value: Any) -> Any:
    """The body with one spelling of names: protobuf's JSON parsers accept a field's own name, too
    (https://protobuf.dev/programming-guides/json)."""
    if isinstance(value, list):
        return [in_camel_case(item) for item in as_list(value)]
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for name, inner in as_object(value).items():
        camel = _SNAKE.sub(lambda match: match[1].upper(), name)
        found[camel] = inner if camel in _FREE else in_camel_case(inner)
    return found


def version(request: Request) -> tuple[int, int]:
    """`(2, 5)` for `/v1beta/models/gemini-2.5-pro:generateContent`; (0, 0) if unknown."""
    found = _VERSION.search(request.path)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def key_header(request: Request) -> Iterator[Refusal]:
    """A key is required: ai.google.dev/api, "Authentication", which quotes the 403."""
    given = request.headers.get("x-goog-api-key") or request.headers.get("authorization")
    if not given and "key=" not in request.path:
        text = "Method doesn't allow unregistered callers (callers without established identity)."
        more = "Please use API Key or other form of API consumer identity to call this API."
        yield Refusal(f"{text} {more}", 403, "PERMISSION_DENIED")


def content_type(request: Request) -> Iterator[Refusal]:
    """JSON: ai.google.dev/api."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        yield Refusal("Invalid JSON payload received. Unexpected token.")


def known_fields(request: Request) -> Iterator[Refusal]:
    """Only fields of the proto messages: the JSON parser rejects others (`Invalid JSON payload
    received. Unknown name "…" at '…': Cannot find field.`)."""
    yield from _unknown(request.body, "", "")
    system = as_object(request.body.get("systemInstruction"))
    yield from _unknown(system, "content", "system_instruction")
    for index, content in objects(request.body.get("contents")):
        place = f"contents[{index}]"
        yield from _unknown(content, "content", place)
        for at, part in objects(content.get("parts")):
            where = f"{place}.parts[{at}]"
            yield from _unknown(part, "part", where)
            for name in ("functionCall", "functionResponse", "inlineData", "fileData"):
                yield from _unknown(as_object(part.get(name)), name, f"{where}.{_snake(name)}")
    for index, tool in objects(request.body.get("tools")):
        yield from _unknown(tool, "tool", f"tools[{index}]")
        for at, function in objects(tool.get("functionDeclarations")):
            where = f"tools[{index}].function_declarations[{at}]"
            yield from _unknown(function, "functionDeclaration", where)
    config = as_object(request.body.get("generationConfig"))
    yield from _unknown(config, "generationConfig", "generation_config")
    thinking = as_object(config.get("thinkingConfig"))
    yield from _unknown(thinking, "thinkingConfig", "generation_config.thinking_config")


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda found: "_" + found[1].lower(), name)


def _unknown(found: Object, message: str, place: str) -> Iterator[Refusal]:
    for name in found.keys() - MESSAGES[message]:
        at = f" at '{place}'" if place else ""
        yield Refusal(
            f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.'
        )


def needed_fields(request: Request) -> Iterator[Refusal]:
    """Contents have parts, and each part has data: "contents is not specified", "must include at
    least one parts field", "required oneof field 'data' must have one initialized field"."""
    if not as_list(request.body.get("contents")) and "generateContentRequest" not in request.body:
        yield Refusal(f"{_REQUEST}.contents: contents is not specified\n")
    found = [
        (f"contents[{index}]", content) for index, content in objects(request.body.get("contents"))
    ]
    if "systemInstruction" in request.body:
        found.append(("system_instruction", as_object(request.body["systemInstruction"])))
    for place, content in found:
        if not as_list(content.get("parts")):
            yield Refusal(f"{_REQUEST}.{place}.parts: contents.parts must not be empty.\n")
        for at, part in objects(content.get("parts")):
            if len(_DATA & part.keys()) != 1:
                text = "required oneof field 'data' must have one initialized field"
                yield Refusal(f"{_REQUEST}.{place}.parts[{at}].data: {text}\n")


def roles(request: Request) -> Iterator[Refusal]:
    """Roles are `user` and `model`; the last turn is the user's: API reference ("Must be either
    'user' or 'model'"); reports ("Please use a valid role: user, model.", "Requests ending with a
    model turn are not supported")."""
    contents = [content for _, content in objects(request.body.get("contents"))]
    if any(content.get("role") not in ("user", "model") for content in contents):
        yield Refusal("Please use a valid role: user, model.")
    if contents and contents[-1].get("role") == "model" and version(request) >= (3, 0):
        yield Refusal("Requests ending with a model turn are not supported.")


def pairs(request: Request) -> Iterator[Refusal]:
    """A turn with calls follows a user turn or results; the next turn has as many results; results
    follow only calls: google-gemini/gemini-cli#4217, #16984 and many others."""
    turns = [_counted(content) for _, content in objects(request.body.get("contents"))]
    for at, (calls, results) in enumerate(turns):
        before = turns[at - 1] if at else None
        after = turns[at + 1] if at + 1 < len(turns) else None
        if results and (before is None or not before[0]):
            text = "Please ensure that function response turn comes immediately after a function"
            yield Refusal(f"{text} call turn.")
        if calls and (before is None or before[0]):
            text = "Please ensure that function call turn comes immediately after a user turn or"
            yield Refusal(f"{text} after a function response turn.")
        if calls and (after is None or after[1] != calls):
            text = "Please ensure that the number of function response parts is equal to the number"
            yield Refusal(f"{text} of function call parts of the function call turn.")


def _counted(content: Object) -> tuple[int, int]:
    parts = [part for _, part in objects(content.get("parts"))]
    calls = sum("functionCall" in part for part in parts)
    return calls, sum("functionResponse" in part for part in parts)


def calls(request: Request) -> Iterator[Refusal]:
    """Arguments of a call and the response of a result are objects; both have a name, and their ids
    match: API reference (`FunctionCall`, `FunctionResponse`), "Function calling"."""
    called: dict[Any, Any] = {}
    for index, content in objects(request.body.get("contents")):
        for at, part in objects(content.get("parts")):
            place = f"{_REQUEST}.contents[{index}].parts[{at}]"
            for name, member in (("functionCall", "args"), ("functionResponse", "response")):
                found = as_object(part.get(name))
                if not found:
                    continue
                where = f"{place}.{_snake(name)}"
                if not found.get("name"):
                    yield Refusal(f"{where}.name: Name cannot be empty.\n")
                if not isinstance(found.get(member, {}), dict):
                    message = (
                        f"Invalid value at 'contents[{index}].parts[{at}].{_snake(name)}.{member}'"
                    )
                    yield Refusal(f"{message} (type.googleapis.com/google.protobuf.Struct)")
            call = as_object(part.get("functionCall"))
            if call and call.get("id") is not None:
                called[call["id"]] = call.get("name")
            answer = as_object(part.get("functionResponse"))
            known = called.get(answer.get("id"), answer.get("name"))
            if answer and known != answer.get("name"):
                text = "The function response name does not match the name of its function call."
                yield Refusal(f"{place}.function_response.name: {text}\n")


def thought_signatures(request: Request) -> Iterator[Refusal]:
    """Gemini 3 requires the signature of the first call in each step since the last user input:
    "Thought signatures"; langgenius/dify-official-plugins#2088, nanbingxyz/5ire#405."""
    if version(request) < (3, 0):
        return
    contents = [content for _, content in objects(request.body.get("contents"))]
    spoken = [at for at, content in enumerate(contents) if _is_user_input(content)]
    for at in range(spoken[-1] if spoken else 0, len(contents)):
        parts = [part for _, part in objects(contents[at].get("parts"))]
        first = next((part for part in parts if "functionCall" in part), None)
        if first is not None and not first.get("thoughtSignature"):
            name = as_object(first["functionCall"]).get("name")
            text = "Function call is missing a thought_signature in functionCall parts. This is"
            more = "required for tools to work correctly, and missing thought_signature may lead to"
            place = f"function call `default_api:{name}` , position {at + 1}"
            yield Refusal(f"{text} {more} degraded model performance. Additional data, {place}.")


def _is_user_input(content: Object) -> bool:
    parts = [part for _, part in objects(content.get("parts"))]
    return content.get("role") == "user" and not any("functionResponse" in part for part in parts)


def tools(request: Request) -> Iterator[Refusal]:
    """At least one function, or a tool of Google, whose settings may be empty; names start with a
    letter or `_`, have at most 64 characters and are unique; schemas follow `_gemini_schema`:
    reports quote the errors. (Newer errors say 128; 64 is safe with both.)"""
    names: list[Any] = []
    for index, tool in objects(request.body.get("tools")):
        if not any(value or isinstance(value, dict) for value in tool.values()):
            text = "required one_of 'tool_type' must have one initialized field"
            yield Refusal(f"{_REQUEST}.tools[{index}].tool_type: {text}\n")
        for at, function in objects(tool.get("functionDeclarations")):
            place = f"tools[{index}].function_declarations[{at}]"
            names.append(function.get("name"))
            if not _NAME.fullmatch(str(function.get("name"))):
                text = "Invalid function name. Must start with a letter or an underscore. Must be"
                more = (
                    "alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes"
                )
                end = "(-), with a maximum length of 64."
                yield Refusal(f"{_REQUEST}.{place}.name: {text} {more} {end}\n")
            if "parameters" in function and "parametersJsonSchema" in function:
                yield Refusal(f"{_REQUEST}.{place}: only one of the schemas may be set\n")
            if "parameters" in function:
                yield from declared(function["parameters"], f"{place}.parameters")
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield Refusal(f"Duplicate function declaration found: {name}")


def tool_config(request: Request) -> Iterator[Refusal]:
    """Modes; names only with `ANY` or `VALIDATED`, and only of declared functions: API reference
    (`FunctionCallingConfig`)."""
    config = as_object(as_object(request.body.get("toolConfig")).get("functionCallingConfig"))
    mode, named = config.get("mode", "AUTO"), as_list(config.get("allowedFunctionNames"))
    yield from _unknown(config, "functionCallingConfig", "tool_config.function_calling_config")
    place = f"{_REQUEST}.tool_config.function_calling_config"
    if mode not in ("AUTO", "ANY", "NONE", "VALIDATED", "MODE_UNSPECIFIED"):
        yield Refusal(f"Invalid value at 'tool_config.function_calling_config.mode', \"{mode}\"")
    known = [
        function.get("name")
        for _, tool in objects(request.body.get("tools"))
        for _, function in objects(tool.get("functionDeclarations"))
    ]
    if named and mode not in ("ANY", "VALIDATED"):
        text = "allowed_function_names should only be set when the mode is ANY or VALIDATED"
        yield Refusal(f"{place}.allowed_function_names: {text}\n")
    for name in named:
        if name not in known:
            yield Refusal(f"{place}.allowed_function_names: `{name}` is not declared\n")
    if mode == "ANY" and not known:
        yield Refusal("Function calling config is set without function_declarations.")


def generation(request: Request) -> Iterator[Refusal]:
    """Ranges, at most 5 stop sequences, a schema only with a JSON type, JSON with functions only
    from Gemini 3 on: API reference (`GenerationConfig`); "Gemini 3" ("Structured outputs with
    tools")."""
    config = as_object(request.body.get("generationConfig"))
    for name, least, most in (("temperature", 0, 2), ("topP", 0, 1), ("topK", 1, None)):
        value = config.get(name)
        if isinstance(value, int | float) and (value < least or (most and value > most)):
            bound = f"[{least}, {most}]" if most else f"[{least}, inf)"
            where = f"{_REQUEST}.generation_config.{_snake(name)}"
            yield Refusal(f"{where}: {name} must be in the range {bound}.\n")
    if isinstance(config.get("maxOutputTokens"), int) and config["maxOutputTokens"] < 1:
        yield Refusal(f"{_REQUEST}.generation_config.max_output_tokens: must be positive.\n")
    stops = as_list(config.get("stopSequences"))
    if len(stops) > 5:
        where = f"{_REQUEST}.generation_config.stop_sequences"
        yield Refusal(f"{where}: at most 5 stop sequences are allowed.\n")
    mime = config.get("responseMimeType")
    schema = config.get("responseSchema")
    if schema is not None:
        if mime not in ("application/json", "text/x.enum"):
            text = "response_schema is set but response_mime_type is not application/json."
            yield Refusal(f"{_REQUEST}.generation_config: {text}\n")
        yield from declared(schema, "generation_config.response_schema")
    if (
        mime == "application/json"
        and request.body.get("tools")
        and (0, 0) < version(request) < (3, 0)
    ):
        yield Refusal(
            "Function calling with a response mime type: 'application/json' is unsupported"
        )


def thinking(request: Request) -> Iterator[Refusal]:
    """A level from Gemini 3 on, a budget in range for 2.5, never both: "Thinking"; reports quote
    the errors."""
    found = as_object(as_object(request.body.get("generationConfig")).get("thinkingConfig"))
    level, budget = found.get("thinkingLevel"), found.get("thinkingBudget")
    if level is not None and budget is not None:
        yield Refusal("You can only set only one of thinking budget and thinking level.")
    if level is not None and str(level).lower() not in _LEVELS:
        where = "generation_config.thinking_config.thinking_level"
        yield Refusal(f"Invalid value at '{where}', \"{level}\"")
    if level is not None and (0, 0) < version(request) < (3, 0):
        yield Refusal("Thinking level is not supported for this model.")
    if not isinstance(budget, int) or budget == -1 or version(request) != (2, 5):
        return
    least, most = next((r for name, r in _BUDGETS.items() if name in request.path), (0, 32768))
    if budget == 0 and "pro" in request.path:
        yield Refusal("Budget 0 is invalid. This model only works in thinking mode.")
    elif budget != 0 and not least <= budget <= most:
        text = f"The thinking budget {budget} is invalid."
        yield Refusal(f"{text} Please choose a value between {least} and {most}.")


RULES: Final[tuple[Rule, ...]] = (
    key_header,
    content_type,
    known_fields,
    needed_fields,
    roles,
    pairs,
    calls,
    thought_signatures,
    tools,
    tool_config,
    generation,
    thinking,
)
