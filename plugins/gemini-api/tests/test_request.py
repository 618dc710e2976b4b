"""What a Gemini request becomes, and what of it is on the receipt."""

import base64

import pytest

from plugway import InvalidRequest
from plugway_gemini_api._request import messages_request, model_of
from plugway_translation import Notes

USER = {"role": "user", "parts": [{"text": "hi"}]}
LOOK = {"name": "look", "parameters": {"type": "OBJECT", "properties": {"at": {"type": "STRING"}}}}
TOOLS = [{"functionDeclarations": [LOOK, {"name": "stop"}]}]
CALL = {"functionCall": {"name": "look", "args": {"at": "a"}}}


def made(**body):
    """The Messages request and the lines about it."""
    notes = Notes()
    found = messages_request({"contents": [USER], **body}, "m", notes, max_tokens=99)
    return found, notes.lines()


def turns(*contents, **body):
    return made(contents=list(contents), **body)[0]["messages"]


def model(*parts):
    return {"role": "model", "parts": list(parts)}


def user(*parts):
    return {"role": "user", "parts": list(parts)}


def answer(name="look", **fields):
    return {"functionResponse": {"name": name, "response": {"output": "x"}, **fields}}


def test_a_plain_request():
    found, lines = made()
    said = [{"type": "text", "text": "hi"}]
    assert found == {
        "model": "m",
        "max_tokens": 99,
        "messages": [{"role": "user", "content": said}],
    }
    assert lines == []


def test_both_spellings_of_every_member_mean_the_same():
    wide = {
        "systemInstruction": {"parts": [{"text": "s"}]},
        "generationConfig": {"maxOutputTokens": 5, "topP": 0.5, "stopSequences": ["a"]},
        "tools": [{"functionDeclarations": [LOOK]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["look"]}},
        "contents": [user({"inlineData": {"mimeType": "image/png", "data": "AAAA"}})],
    }
    narrow = {
        "system_instruction": {"parts": {"text": "s"}},
        "generation_config": {"max_output_tokens": "5", "top_p": 0.5, "stop_sequences": "a"},
        "tools": {"function_declarations": [LOOK]},
        "tool_config": {
            "function_calling_config": {"mode": "any", "allowed_function_names": ["look"]}
        },
        "contents": [user({"inline_data": {"mime_type": "image/png", "data": "AAAA"}})],
    }
    assert made(**wide) == made(**narrow)
    assert made(**wide)[0]["tool_choice"] == {"type": "tool", "name": "look"}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1beta/models/gemini-3-pro:generateContent", "gemini-3-pro"),
        ("/v1/models/anthropic/local/qwen3:8b:streamGenerateContent", "anthropic/local/qwen3:8b"),
        ("/v1beta/anthropic/local/m:countTokens", "anthropic/local/m"),
        ("/v1/v1beta/models/m:generateContent", "m"),
        ("/v1alpha/models/models/m:generateContent", "models/m"),
    ],
)
def test_the_path_names_the_model(path, name):
    assert model_of(path) == name


# ── the conversation ─────────────────────────────────────────────────────────────────────────────


def test_calls_without_ids_are_answered_by_name_in_their_order():
    other = {"functionCall": {"name": "stop"}}
    first, second = turns(
        USER,
        model(CALL, other, CALL),
        user(answer("stop"), {"text": "beside"}, answer(), answer()),
    )[1:]
    ids = [block["id"] for block in first["content"]]
    assert len(set(ids)) == 3
    told = [b.get("tool_use_id") for b in second["content"]]
    assert told == [ids[1], ids[0], ids[2], None]
    assert first["content"][1]["input"] == {}


def test_calls_with_ids_are_answered_by_them_in_any_order():
    calls = [{"functionCall": {"name": "look", "id": i}} for i in ("a:1", "b")]
    first, second = turns(USER, model(*calls), user(answer(id="b")), user(answer(id="a:1")))[1:]
    ids = [block["id"] for block in first["content"]]
    assert ids[1] == "b"
    assert [b["tool_use_id"] for b in second["content"]] == [ids[1], ids[0]]


@pytest.mark.parametrize("name", [None, ""])
def test_responses_without_a_name_answer_the_calls_in_their_order(name):
    """Google refuses them (router-for-me/CLIProxyAPI#2104); what they answer is clear."""
    nameless = {"functionResponse": {"response": {"output": "y"}}}
    if name is not None:
        nameless["functionResponse"]["name"] = name
    stop = {"functionCall": {"name": "stop"}}
    first, second = turns(USER, model(CALL, stop, CALL), user(answer("stop"), nameless, nameless))[
        1:
    ]
    ids = [block["id"] for block in first["content"]]
    assert [b.get("tool_use_id") for b in second["content"]] == [ids[1], ids[0], ids[2]]


def test_ids_that_come_twice_stand_for_one_call_each():
    call = {"functionCall": {"name": "look", "id": "x"}}
    step = [model(call), user(answer(id="x"))]
    found = turns(USER, *step, *step)
    ids = [b["id"] for m in found for b in m["content"] if b["type"] == "tool_use"]
    told = [b["tool_use_id"] for m in found for b in m["content"] if b["type"] == "tool_result"]
    assert len(set(ids)) == 2
    assert told == ids


def test_a_response_that_no_call_asked_for_is_told_as_text():
    found, lines = made(contents=[USER, user(answer("nobody"))])
    assert [b["text"] for b in found["messages"][0]["content"]] == ["hi", "[tool result]", "x"]
    assert "translate functionResponse: it has no matching call, sent as text" in lines


@pytest.mark.parametrize(
    ("response", "content", "failed"),
    [
        ({"output": "x"}, "x", False),
        ({"result": {"a": 1}}, '{"a":1}', False),
        ({"error": "no such file"}, "no such file", True),
        ({"error": "half", "output": "x"}, '{"error":"half","output":"x"}', False),
        ({"a": 1, "b": 2}, '{"a":1,"b":2}', False),
        ({}, None, False),
        (None, None, False),
    ],
)
def test_what_a_tool_said(response, content, failed):
    (block,) = turns(USER, model(CALL), user(answer(response=response)))[2]["content"]
    assert block.get("is_error", False) is failed
    assert [b["text"] for b in block["content"]] == ([] if content is None else [content])


def test_images_in_a_response_are_part_of_the_result():
    image = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    (block,) = turns(USER, model(CALL), user(answer(parts=[image])))[2]["content"]
    assert [b["type"] for b in block["content"]] == ["text", "image"]


def test_pieces_of_a_stream_that_a_client_kept_are_one_turn():
    pieces = [model({"text": text}) for text in ("Hel", "lo", "", ".")]
    (_, said) = turns(USER, *pieces)
    assert said["content"] == [{"type": "text", "text": "Hello."}]


def test_media_become_blocks_in_the_alphabet_of_the_messages_api():
    raw = bytes(range(250, 256)) * 3 + b"1"
    url_safe = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    standard = base64.b64encode(raw).decode()
    parts = [
        {"inlineData": {"mimeType": kind, "data": url_safe}}
        for kind in ("image/png", "application/pdf")
    ]
    text = base64.b64encode(b"plain").decode()
    parts.append({"inlineData": {"mimeType": "text/x-python", "data": text, "displayName": "a.py"}})
    blocks = turns(user(*parts))[0]["content"]
    assert [b["type"] for b in blocks] == ["image", "document", "document"]
    assert blocks[0]["source"]["data"] == blocks[1]["source"]["data"] == standard
    assert (blocks[2]["source"]["data"], blocks[2]["title"]) == ("plain", "a.py")


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ({"mimeType": "image/png", "fileUri": "https://a.test/x"}, "image"),
        ({"mimeType": "application/pdf", "fileUri": "https://a.test/x"}, "document"),
        ({"mimeType": "video/mp4", "fileUri": "https://a.test/x"}, "text"),
        ({"fileUri": "https://www.youtube.com/watch?v=x"}, "text"),
        ({"mimeType": "image/png", "fileUri": "gs://bucket/x"}, "text"),
        (
            {
                "mimeType": "image/png",
                "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/x",
            },
            "text",
        ),
    ],
)
def test_files_that_nobody_but_google_can_read_are_words(file, kind):
    found, lines = made(contents=[user({"fileData": file})])
    assert found["messages"][0]["content"][0]["type"] == kind
    assert bool(lines) is (kind == "text")


def test_audio_is_words_or_a_400():
    part = {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}}
    body = {"contents": [user(part)]}
    notes = Notes()
    found = messages_request(body, "m", notes, max_tokens=9)
    assert "left out" in found["messages"][0]["content"][0]["text"]
    assert "drop document" in notes.lines()[0]
    with pytest.raises(InvalidRequest, match="cannot be sent"):
        messages_request(body, "m", Notes(), max_tokens=9, media="reject")


def test_what_google_ran_is_told_in_words():
    code = {"executableCode": {"language": "PYTHON", "code": "print(1)"}}
    printed = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}
    found, lines = made(contents=[USER, model(code, printed), USER])
    assert "print(1)" in found["messages"][1]["content"][0]["text"]
    assert [line.split(":")[0] for line in lines] == [
        "translate contents.parts.executableCode",
        "translate contents.parts.codeExecutionResult",
    ]


def test_hints_and_parts_that_nobody_knows_are_on_record():
    part = {"text": "x", "videoMetadata": {"fps": 1}}
    _, lines = made(contents=[user(part, {"hologram": {}})])
    assert [line.split(":")[0] for line in lines] == [
        "drop contents.parts.videoMetadata",
        "drop contents.parts",
    ]


# ── fields ───────────────────────────────────────────────────────────────────────────────────────


def test_sampling_and_limits():
    found, lines = made(
        generationConfig={
            "temperature": 1.5,
            "topP": 0.9,
            "topK": 40.0,
            "maxOutputTokens": 7,
            "stopSequences": ["x", ""],
            "seed": 1,
            "presencePenalty": 0,
            "frequencyPenalty": 0.5,
            "candidateCount": 1,
            "mystery": 1,
        },
        safetySettings=[{"category": "x"}],
        labels={},
    )
    kept = {name: found[name] for name in ("temperature", "top_p", "top_k", "stop_sequences")}
    assert kept == {"temperature": 1, "top_p": 0.9, "top_k": 40, "stop_sequences": ["x"]}
    assert found["max_tokens"] == 7
    assert [line.split(":")[0] for line in lines] == [
        "drop safetySettings",
        "drop generationConfig.seed",
        "drop generationConfig.frequencyPenalty",
        "drop generationConfig.mystery",
        "translate generationConfig.temperature",
        "drop generationConfig.stopSequences",
    ]


@pytest.mark.parametrize(
    ("config", "thinking", "effort"),
    [
        ({}, None, None),
        ({"thinkingBudget": 0}, {"type": "disabled"}, None),
        ({"thinkingBudget": -1}, {"type": "adaptive"}, None),
        ({"thinkingBudget": 1024}, {"type": "adaptive"}, "low"),
        ({"thinkingBudget": 9000}, {"type": "adaptive"}, "medium"),
        ({"thinkingBudget": 30000}, {"type": "adaptive"}, "high"),
        ({"thinkingLevel": "MINIMAL"}, {"type": "adaptive"}, "low"),
        ({"thinkingLevel": "high"}, {"type": "adaptive"}, "high"),
        ({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}, None, None),
        ({"includeThoughts": True}, {"type": "adaptive", "display": "summarized"}, None),
    ],
)
def test_thinking(config, thinking, effort):
    found, _ = made(generationConfig={"thinkingConfig": config})
    assert found.get("thinking") == thinking
    assert found.get("output_config", {}).get("effort") == effort


def test_a_forced_call_goes_without_thinking():
    found, lines = made(
        tools=TOOLS,
        toolConfig={"functionCallingConfig": {"mode": "ANY"}},
        generationConfig={"thinkingConfig": {"thinkingLevel": "LOW"}},
    )
    assert found["tool_choice"] == {"type": "any"}
    assert "thinking" not in found
    assert any("a forced call disables thinking" in line for line in lines)


SHAPE = {
    "type": "OBJECT",
    "properties": {
        "tags": {"type": "ARRAY", "items": {"type": "STRING"}, "minItems": "1"},
        "when": {"type": "STRING", "nullable": True, "format": "date", "example": "2000-01-01"},
        "kind": {"type": "STRING", "enum": ["a"], "nullable": True},
        "any_of": {"any_of": [{"type": "NUMBER"}, {"type": "TYPE_UNSPECIFIED"}]},
    },
    "required": ["tags"],
    "property_ordering": ["tags"],
}
PLAIN = {
    "type": "object",
    "properties": {
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "when": {"type": ["string", "null"], "format": "date", "examples": ["2000-01-01"]},
        "kind": {"type": ["string", "null"], "enum": ["a", None]},
        "any_of": {"anyOf": [{"type": "number"}, {}]},
    },
    "required": ["tags"],
}


def test_schemas_become_json_schema_and_names_of_properties_stay():
    found, _ = made(tools=[{"functionDeclarations": [{"name": "f", "parameters": SHAPE}]}])
    assert found["tools"] == [{"name": "f", "input_schema": PLAIN}]
    raw = {"type": "object", "properties": {"snake_case": {"const": 1}}, "$defs": {}}
    declared = {"name": "f", "parametersJsonSchema": raw}
    assert made(tools=[{"functionDeclarations": [declared]}])[0]["tools"][0]["input_schema"] == raw


@pytest.mark.parametrize("name", ["responseSchema", "responseJsonSchema"])
def test_a_schema_of_the_answer_is_closed(name):
    schema = SHAPE if name == "responseSchema" else PLAIN
    found, lines = made(generationConfig={"responseMimeType": "application/json", name: schema})
    form = found["output_config"]["format"]
    assert form == {"type": "json_schema", "schema": {**PLAIN, "additionalProperties": False}}
    assert lines == []


def test_the_newer_spelling_of_a_form():
    form = {"text": {"mimeType": "APPLICATION_JSON", "schema": PLAIN}}
    found, _ = made(generationConfig={"responseFormat": [form]})
    assert found["output_config"]["format"]["schema"]["required"] == ["tags"]


def test_json_and_enums_are_asked_for_in_words():
    found, lines = made(
        generationConfig={"responseMimeType": "application/json"},
        systemInstruction={"parts": [{"text": "be nice"}, {"inlineData": {}}]},
    )
    assert [block["text"][:7] for block in found["system"]] == ["be nice", "Answer "]
    assert [line.split(":")[0] for line in lines] == [
        "emulate generationConfig.responseMimeType",
        "drop systemInstruction",
    ]
    enum = {"type": "STRING", "enum": ["red", "blue"]}
    config = {"responseMimeType": "text/x.enum", "responseSchema": enum}
    assert '["red","blue"]' in made(generationConfig=config)[0]["system"][0]["text"]


# ── tools ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("config", "names", "choice"),
    [
        ({}, ["look", "stop"], None),
        ({"mode": "AUTO"}, ["look", "stop"], None),
        ({"mode": "MODE_UNSPECIFIED"}, ["look", "stop"], None),
        ({"mode": "VALIDATED"}, ["look", "stop"], None),
        ({"mode": "VALIDATED", "allowedFunctionNames": ["stop"]}, ["stop"], None),
        ({"mode": "NONE"}, ["look", "stop"], {"type": "none"}),
        ({"mode": "ANY"}, ["look", "stop"], {"type": "any"}),
        (
            {"mode": "ANY", "allowedFunctionNames": ["look"]},
            ["look"],
            {"type": "tool", "name": "look"},
        ),
    ],
)
def test_the_choice_among_functions(config, names, choice):
    found, _ = made(tools=TOOLS, toolConfig={"functionCallingConfig": config})
    assert [tool["name"] for tool in found["tools"]] == names
    assert found.get("tool_choice") == choice


def test_tools_that_google_runs_are_on_record():
    found, lines = made(tools=[{"googleSearch": {}}, {"url_context": {}}, {"rm -rf": {}}])
    assert "tools" not in found
    assert [line.split(":")[0] for line in lines] == [
        "drop tools.googleSearch",
        "drop tools.urlContext",
        "drop tools",
    ]


def test_names_that_the_messages_api_refuses_are_changed():
    functions = [{"name": "mcp.files:read"}]
    call = {"functionCall": {"name": "mcp.files:read", "id": "1"}}
    found, lines = made(
        contents=[USER, model(call), user(answer("mcp.files:read", id="1"))],
        tools=[{"functionDeclarations": functions}],
    )
    (tool,) = found["tools"]
    assert set(tool["name"]) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")
    assert found["messages"][1]["content"][0]["name"] == tool["name"]
    assert "translate tools.name" in lines[0]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"contents": []}, "contents"),
        ({"contents": [user()]}, "contents"),
        ({"contents": ["hi"]}, "contents"),
        ({"contents": [{"role": "system", "parts": []}]}, "role"),
        ({"contents": [user("hi")]}, "parts"),
        ({"contents": [user({"text": 1})]}, "text"),
        ({"contents": [USER, model({"functionCall": {}})]}, "functionCall.name"),
        ({"contents": [USER, model({"functionCall": 1})]}, "functionCall"),
        ({"contents": [user({"inlineData": {"mimeType": "image/png"}})]}, "inlineData"),
        ({"contents": [user({"inlineData": {"mimeType": "text/a", "data": "/w=="}})]}, "data"),
        ({"contents": [user({"fileData": {}})]}, "fileUri"),
        ({"systemInstruction": 1}, "systemInstruction"),
        ({"generationConfig": []}, "generationConfig"),
        ({"generationConfig": {"candidateCount": 2}}, "candidateCount"),
        ({"generationConfig": {"temperature": "hot"}}, "temperature"),
        ({"generationConfig": {"temperature": 3}}, "temperature"),
        ({"generationConfig": {"topK": 1.5}}, "topK"),
        ({"generationConfig": {"maxOutputTokens": 0}}, "maxOutputTokens"),
        ({"generationConfig": {"stopSequences": [1]}}, "stopSequences"),
        ({"generationConfig": {"responseLogprobs": True}}, "responseLogprobs"),
        ({"generationConfig": {"responseModalities": ["AUDIO"]}}, "responseModalities"),
        ({"generationConfig": {"responseMimeType": "image/png"}}, "responseMimeType"),
        ({"generationConfig": {"responseMimeType": "text/x.enum"}}, "responseSchema"),
        ({"generationConfig": {"thinkingConfig": {"thinkingLevel": "x"}}}, "thinkingLevel"),
        ({"generationConfig": {"thinkingConfig": {"includeThoughts": 1}}}, "includeThoughts"),
        ({"cachedContent": "cachedContents/x"}, "cachedContent"),
        ({"tools": [{"functionDeclarations": [{}]}]}, "name"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}, "toolConfig"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "SOME"}}}, "mode"),
        (
            {
                "tools": TOOLS,
                "toolConfig": {
                    "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["x"]}
                },
            },
            "allowedFunctionNames",
        ),
        (
            {
                "tools": TOOLS,
                "toolConfig": {"functionCallingConfig": {"allowedFunctionNames": ["look"]}},
            },
            "allowedFunctionNames",
        ),
    ],
)
def test_what_is_wrong_is_a_400_that_names_it(body, where):
    with pytest.raises(InvalidRequest, match=f"Invalid value at '[^']*{where}"):
        made(**body)


def test_members_that_nobody_knows_are_on_record():
    notes = Notes()
    call = {"functionCall": {"name": "look", "aNew": 1}}
    result = {"functionResponse": {"name": "look", "response": {}, "bNew": 1}}
    image = {"inlineData": {"mimeType": "image/png", "data": "AAAA", "displayName": "x", "cNew": 1}}
    paper = {"fileData": {"mimeType": "application/pdf", "fileUri": "https://a.de/b", "dNew": 1}}
    body = {
        "contents": [
            {"role": "model", "parts": [call], "eNew": 1},
            {"role": "user", "parts": [result, image, paper]},
        ],
        "tools": [{"functionDeclarations": [{"name": "look", "fNew": 1}]}],
        "toolConfig": {"gNew": 1, "functionCallingConfig": {"mode": "AUTO", "hNew": 1}},
        "generationConfig": {"thinkingConfig": {"thinkingBudget": 0, "iNew": 1}},
    }
    messages_request(body, "m", notes, max_tokens=9)
    dropped = {line.split(": ")[0].rpartition(".")[2] for line in notes.lines()}
    assert dropped == {*(f"{letter}New" for letter in "abcdefghi"), "displayName"}
