"""Every row of the table has a sentence that only it understands first."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway_capabilities import REJECTIONS, Facts, lessons

FIELDS = "rejected_fields"
KEYWORDS = "rejected_keywords"
BOUNDS = {
    *("pattern", "patternProperties", "format", "minLength", "maxLength", "minItems", "maxItems"),
    *("uniqueItems", "multipleOf", "minProperties", "maxProperties", "propertyNames", "contains"),
}

# (status, text, what is learnt)
SENTENCES = [
    (400, "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", {"output_limit_field": "max_completion_tokens"}),
    (400, "Unsupported value: 'reasoning_effort' does not support 'minimal' with this model. Supported values are: 'low', 'medium', and 'high'.", {"allowed_values": {"reasoning_effort": ("low", "medium", "high")}}),
    (400, "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) value is supported.", {FIELDS: {"temperature"}}),
    (400, "The `reasoning_content` in the thinking mode must be passed back to the API.", {"reasoning_back": "required"}),
    (400, "'messages.1' : for 'role:assistant' the following must be satisfied[('messages.1' : property 'reasoning_content' is unsupported)]", {"reasoning_back": "rejected"}),
    (400, "2 validation errors:\n {'type': 'literal_error', 'loc': ('body', 'messages', 1, 'content', 'list[AnthropicContentBlock]', 0, 'type'), 'msg': \"Input should be 'text', 'image', 'tool_use' or 'tool_result'\", 'input': 'thinking'}", {"reasoning_back": "rejected"}),
    (400, "'messages.2' : for 'role:user' the following must be satisfied[('messages.2' : property 'cache_control' is unsupported)]", {FIELDS: {"messages.cache_control"}}),
    (400, "property 'store' is unsupported, did you mean 'stop'?", {FIELDS: {"store"}}),
    (400, "Unsupported parameter: 'stop' is not supported with this model.", {FIELDS: {"stop"}}),
    (400, "Unsupported param: echo", {FIELDS: {"echo"}}),
    (400, "Unknown parameter: 'metadata.user_id'.", {FIELDS: {"metadata.user_id"}}),
    (400, "Unknown parameter: 'input[3].status'.", {FIELDS: {"input.status"}}),
    (400, "Unrecognized request argument supplied: parallel_tool_calls", {FIELDS: {"parallel_tool_calls"}}),
    (400, "Unrecognized request arguments supplied: service_tier, store", {FIELDS: {"service_tier", "store"}}),
    (400, "Invalid JSON payload received. Unknown name \"const\" at 'tools[0].function_declarations[5].parameters.properties[8].value.any_of[0]': Cannot find field.\nInvalid JSON payload received. Unknown name \"$schema\" at 'tools[0].function_declarations[7].parameters': Cannot find field.", {"rejected_keywords": {"const", "$schema"}}),
    (400, "Invalid JSON payload received. Unknown name \"topX\" at 'generation_config': Cannot find field.", {FIELDS: {"generation_config.topX"}}),
    (400, 'Invalid JSON payload received. Unknown name "reasoning": Cannot find field.\nInvalid JSON payload received. Unknown name "top_k": Cannot find field.', {FIELDS: {"reasoning", "top_k"}}),
    (400, "Tool call id was call_0fypS1hVX but must be a-z, A-Z, 0-9, with a length of 9.", {"tool_id_limit": 9, "tool_id_pattern": "[a-zA-Z0-9]{9}"}),
    (400, "Invalid 'messages[2].tool_calls[0].id': string too long. Expected a string with maximum length 40, but got a string with length 83 instead.", {"tool_id_limit": 40}),
    (400, "Invalid 'input[95].call_id': string too long. Expected a string with maximum length 64, but got a string with length 116 instead.", {"tool_id_limit": 64}),
    (400, "Invalid 'tools[0].function.name': string too long. Expected a string with maximum length 64, but got a string with length 70 instead.", {"tool_name_limit": 64}),
    (400, "Invalid 'tools[0].function.description': string too long. Expected a string with maximum length 1024, but got a string with length 3000 instead.", {"length_limits": {"tools.function.description": 1024}}),
    (400, "Invalid 'messages[0].content': string too long. Expected a string with maximum length 1024, but got a string with length 3000 instead.", {}),
    (422, "metadata.user_id: String should have at most 256 characters", {"length_limits": {"metadata.user_id": 256}}),
    (400, "Invalid 'tools': array too long. Expected an array with maximum length 128, but got an array with length 150 instead.", {"tools_limit": 128}),
    (400, "Unexpected role 'user' after role 'tool'", {"turn_order": "strict"}),
    (400, "After the optional system message, conversation roles must alternate user/assistant/user/assistant/...", {"turn_order": "strict"}),
    (500, "Conversation roles must alternate user/assistant/user/assistant/...", {"turn_order": "strict"}),
    (400, "This model does not support assistant message prefill. The conversation must end with a user message.", {"prefill": "rejected"}),
    (400, "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant", {"prefill": "rejected"}),
    (400, "invalid beta flag", {"rejected_betas": {"*"}}),
    (400, "Unexpected value(s) `a-2026-01-01`, `b-2026-01-01` for the `anthropic-beta` header. Please consult our documentation at docs.claude.com", {"rejected_betas": {"a-2026-01-01", "b-2026-01-01"}}),
    (400, "Thinking mode does not support this tool_choice", {"allowed_values": {"tool_choice": ("auto", "none")}}),
    (400, "Function tools with reasoning_effort are not supported for gpt-5.4 in /v1/chat/completions. Please use /v1/responses instead.", {FIELDS: {"reasoning_effort"}}),
    (400, "At most 4 image(s) may be provided in one prompt.", {"images_limit": 4}),
    (400, "Too many images provided. This model supports up to 5 images", {"images_limit": 5}),
    (400, "Total number of images exceeds the limit of 8 images", {"images_limit": 8}),
    (400, "messages: too many images: 101 > 100", {"images_limit": 100}),
    (400, "'tools' : maximum number of items is 128", {"tools_limit": 128}),
    (422, "tools: List should have at most 64 items after validation, not 80", {"tools_limit": 64}),
    (400, "This model supports at most 128 tools per request.", {"tools_limit": 128}),
    (400, "Too many tools (200). Maximum is 128.", {"tools_limit": 128}),
    (400, "Maximum number of tools exceeded: 128", {"tools_limit": 128}),
    (400, "'stop' : maximum number of items is 4", {"stop_limit": 4}),
    (422, "stop: List should have at most 4 items", {"stop_limit": 4}),
    (400, "stop_sequences: List should have at most 5 items", {"stop_limit": 5}),
    (400, "Only up to 4 stop sequences are supported.", {"stop_limit": 4}),
    (400, "'tools.0.function.name' : maximum length is 40", {"tool_name_limit": 40}),
    (422, "tools.0.function.name: String should have at most 64 characters", {"tool_name_limit": 64}),
    (400, "'tools.0.function.description' : maximum length is 1024", {"length_limits": {"tools.function.description": 1024}}),
    (400, "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length 6 instead.", {"stop_limit": 4}),
    (400, "`max_tokens` must be less than or equal to `16384`, the maximum value for `max_tokens` is less than the `context_window` for this model", {"max_output_tokens": 16384}),
    (400, "max_tokens for `llama-3.1-8b-instant` must be less than or equal to 8000", {"max_output_tokens": 8000}),
    (400, "Unable to submit request because it has a maxOutputTokens value of 100000 but the supported range is from 1 (inclusive) to 65537 (exclusive). Update the value and try again.", {"max_output_tokens": 65536}),
    (400, "FunctionDeclaration 'API-patch-block-children' in the request exceeds the maximum allowed nesting depth.", {"schema_depth": 4}),
    (400, "Thinking level MEDIUM is not supported for this model.", {FIELDS: {"generationConfig.thinkingConfig.thinkingLevel"}}),
    (400, "Unable to submit request because thinking_level is not supported by this model.. Learn more", {FIELDS: {"generationConfig.thinkingConfig.thinkingLevel"}}),
    (400, "Budget 0 is invalid. This model only works in thinking mode.", {FIELDS: {"generationConfig.thinkingConfig.thinkingBudget"}}),
    (400, "The thinking budget (52428) is invalid.", {FIELDS: {"generationConfig.thinkingConfig.thinkingBudget"}}),
    (400, "Unable to submit request because The model does not support setting thinking_budget to 0", {FIELDS: {"generationConfig.thinkingConfig.thinkingBudget"}}),
    (400, "thinking_config is not supported", {FIELDS: {"generationConfig.thinkingConfig"}}),
    (400, "Developer instruction is not enabled for models/gemma-3-27b-it", {FIELDS: {"systemInstruction"}}),
    (400, "Model grok-4-0709 does not support parameter presencePenalty.", {FIELDS: {"presence_penalty"}}),
    (400, "Argument not supported on this model: stop", {FIELDS: {"stop"}}),
    (400, "Extra inputs are not permitted, field: 'thinking', value: {}", {FIELDS: {"thinking"}}),
    (400, "[{'type': 'extra_forbidden', 'loc': ('body', 'metadata'), 'msg': 'Extra inputs are not permitted', 'input': 1}]", {FIELDS: {"metadata"}}),
    (400, "context_management: Extra inputs are not permitted", {FIELDS: {"context_management"}}),
    (400, "Unrecognized key(s) in object: 'thinking'", {FIELDS: {"thinking"}}),
    (400, "Unrecognized key(s) in object: 'thinking', 'metadata'", {FIELDS: {"thinking", "metadata"}}),
    (400, 'Unrecognized key: "thinking"', {FIELDS: {"thinking"}}),
    (400, 'json: unknown field "thinking"', {FIELDS: {"thinking"}}),
    (422, "unknown field `thinking`, expected one of `model`, `messages`", {FIELDS: {"thinking"}}),
    (400, "Unknown fields: thinking, metadata", {FIELDS: {"thinking", "metadata"}}),
    (400, "create() got an unexpected keyword argument 'thinking'", {FIELDS: {"thinking"}}),
    (400, "Additional properties are not allowed ('thinking' was unexpected)", {FIELDS: {"thinking"}}),
    (500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj", {"rejected_inputs": {"image"}}),
    (400, "At most 0 image(s) may be provided in one prompt.", {"rejected_inputs": {"image"}}),
    (400, "'parallel_tool_calls' is not supported", {FIELDS: {"parallel_tool_calls"}}),
    (400, "Unsupported value: 'none' is not supported with the 'gpt-5' model. Supported values are: 'minimal', 'low', 'medium', and 'high'.", {"allowed_values": {"reasoning.effort": ("minimal", "low", "medium", "high")}}),
    (400, "Encrypted content is not supported with this model.", {"rejected_fields": {"include"}}),
    (400, "`reasoning_effort` must be one of `none` or `default`", {"allowed_values": {"reasoning_effort": ("none", "default")}}),
    (500, 'Grammar error: Unimplemented keys: ["propertyNames", "patternProperties"]', {KEYWORDS: {"propertyNames", "patternProperties"}}),
    (400, "Unsupported JSON schema fields: {'maxItems', 'pattern'}", {KEYWORDS: {"maxItems", "pattern"}}),
    (400, "Invalid schema for function 'find': In context=('properties', 'a'), 'oneOf' is not permitted.", {KEYWORDS: {"oneOf"}}),
    (400, "output_config.format.schema: For 'integer' type, properties maximum, minimum are not supported", {KEYWORDS: {"maximum", "minimum"}}),
    (400, "Invalid schema for function 'Artifact': '^[^\\p{Cc}]{1,200}$' is not a 'regex'.", {KEYWORDS: {"pattern", "patternProperties"}}),
    (400, "Invalid schema for response_format 'a': In context=('properties', 'u'), 'uri' is not a valid format.", {KEYWORDS: {"format"}}),
    (400, "Invalid JSON schema: regex lookaround is not supported.", {"schema_patterns": "linear"}),
    (400, "regex parse error: look-around, including look-ahead and look-behind, is not supported", {"schema_patterns": "linear"}),
    (400, "JSON schema conversion failed:\nPattern must start with '^' and end with '$'", {"schema_patterns": "anchored"}),
    (400, "Unable to generate parser for this template. Automatic parser generation failed: JSON schema conversion failed:\nPattern must start with '^' and end with '$'", {"schema_patterns": "anchored"}),
    (400, "Invalid schema for function 'f': schema must have type 'object' and not have 'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level.", {"schema_form": "object"}),
    (400, "tools.3.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level", {"schema_form": "object"}),
    (400, "Invalid request: tools.function.parameters is not a valid moonshot flavored json schema, details: <At path 'root': when using anyOf, type should be defined in anyOf items instead of the parent schema>", {"schema_form": "typed"}),
    (400, "Unable to generate parser for this template. Automatic parser generation failed: JSON schema error at #/properties/a: cannot resolve $ref #/$defs/X, $defs not found", {KEYWORDS: {"$ref"}}),
    (400, "JSON schema error at #: unsupported $ref other.json, only references into the same document are supported", {KEYWORDS: {"$ref"}}),
    (400, "JSON schema conversion failed:\\nError resolving ref #/$defs/X: $defs not in {}", {KEYWORDS: {"$ref"}}),
    (400, "Failed to initialize samplers: failed to parse grammar", {KEYWORDS: BOUNDS}),
    (400, "parse: error parsing grammar: number of repetitions exceeds sane defaults, please reduce the number of repetitions", {KEYWORDS: BOUNDS}),
    (400, "Error compiling grammar: unexpected end of input", {KEYWORDS: BOUNDS}),
    (500, "failed to create grammar from schema", {KEYWORDS: BOUNDS}),
    (400, "The provided JSON schema contains features not supported by xgrammar.", {KEYWORDS: BOUNDS}),
    (400, "Failed to compile json grammar: invalid regex", {KEYWORDS: BOUNDS}),
    (400, "Invalid 'max_output_tokens': integer above maximum value. Expected a value <= 128000, but got 999999 instead.", {"max_output_tokens": 128000}),
]  # fmt: skip

BODIES = [
    ({"error": {"message": "max_tokens is too large: 32000. This model supports at most 16384 completion tokens, whereas you provided 32000."}}, {"max_output_tokens": 16384}),
    ({"error": {"message": "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"}}, {"max_output_tokens": 8192}),
    ({"error": {"message": "This model's maximum context length is 65536 tokens. However, you requested 70000 tokens (60000 in the messages, 10000 in the completion)."}}, {}),
    ({"error": {"code": 400, "message": "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it", "type": "exceed_context_size_error"}}, {}),
    ({"error": {"message": "The input token count exceeds the maximum number of tokens allowed 1048576.", "status": "INVALID_ARGUMENT"}}, {}),
    ({"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted", "input": 1}]}, {FIELDS: {"stream_options"}}),
    ({"error": {"message": "No.", "type": "invalid_request_error", "param": "input[2].name", "code": "unsupported_parameter"}}, {FIELDS: {"input.name"}}),
    ({"error": {"message": "Unsupported value: 'none' is not supported with the 'gpt-5' model. Supported values are: 'low' and 'high'.", "param": "reasoning_effort"}}, {"allowed_values": {"reasoning_effort": ("low", "high")}}),
]  # fmt: skip


def plain(found):
    return {name: set(v) if isinstance(v, frozenset) else v for name, v in found.items()}


@pytest.mark.parametrize(("status", "text", "taught"), SENTENCES, ids=lambda v: str(v)[:50])
def test_a_sentence_teaches(status, text, taught):
    assert plain(lessons(status, text)) == taught
    assert plain(lessons(status, json.dumps({"error": {"message": text}}))) == taught


@pytest.mark.parametrize(("body", "taught"), BODIES, ids=lambda v: str(v)[:50])
def test_a_body_teaches(body, taught):
    assert plain(lessons(400, json.dumps(body).encode())) == taught


def test_every_row_of_the_table_has_a_sentence():
    hit = set()
    for _, text, _ in SENTENCES:
        hit.add(next(id(row) for row in REJECTIONS if row.match.search(text)))
    assert [row for row in REJECTIONS if id(row) not in hit] == []


@pytest.mark.parametrize("row", REJECTIONS, ids=lambda row: f"{row.of[:20]} {row.learns}")
def test_a_row_teaches_something_that_facts_have(row):
    assert hasattr(Facts(), row.learns)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (401, "Unsupported parameter: 'stop'"),
        (429, "Unsupported parameter: 'stop'"),
        (503, "Unsupported parameter: 'stop'"),
        (400, "Unknown parameter: 'messages'."),
        (400, "tools: Extra inputs are not permitted"),
        (400, "Unsupported parameter: 'x'. Use 'y' instead, max_tokens may not; use 'rm' instead"),
        (400, "max_tokens must be less than or equal to 0"),
        (400, "max_tokens must be less than or equal to 1"),
        (
            400,
            "Invalid 'tools[0].function.description': string too long. Expected a string with maximum length 0, but got a string with length 9 instead.",
        ),
        (
            400,
            "Invalid 'tools[0].function.description': string too long. Expected a string with maximum length 3, but got a string with length 9 instead.",
        ),
        (422, "metadata.user_id: String should have at most 1 character"),
        (
            400,
            "Invalid 'tools[0].function.name': string too long. Expected a string with maximum length 1, but got a string with length 70 instead.",
        ),
        (400, "something else"),
        (400, ""),
        (
            400,
            "Unable to generate parser for this template. Automatic parser generation failed: \n"
            "raise_exception('System message must be at the beginning.')\nError: Jinja Exception",
        ),
        # What a model wrote, in the error of a server that could not parse it.
        (500, "Failed to parse input at pos 7: <tool_call>failed to parse grammar"),
        (500, "error parsing tool call: raw='failed to create grammar from schema', err=EOF"),
    ],
)
def test_what_must_not_be_learnt(status, text):
    found = lessons(status, text)
    assert set(found) <= {FIELDS}
    assert found.get(FIELDS, frozenset()) <= {"x"}


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300), st.integers(400, 599))
def test_any_answer_can_be_read(body, status):
    lessons(status, body)


def test_a_hostile_text_is_read_in_no_time():
    lessons(400, "unrecognized request arguments supplied: " + "a, " * 3000)
    lessons(400, 'unknown name "x" at \'' + "items" * 1500)
    lessons(400, "'max_tokens' " * 600)
