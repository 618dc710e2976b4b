"""Each rule of the strict `generateContent`: one request that it takes, one that it refuses."""

import pytest
from strict_asks import GOOGLE, Case, told

from plugway_testing._strict import RULES

PATH = "/v1beta/models/gemini-3-pro:generateContent"
OLDER = "/v1beta/models/gemini-2.5-pro:generateContent"
SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}}
BODY = {
    "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
    "tools": [{"functionDeclarations": [{"name": "Read", "parameters": SCHEMA}]}],
}


def call(name="Read", signature="c2ln", **more):
    part = {"functionCall": {"name": name, "args": {}, **more}}
    return {**part, "thoughtSignature": signature} if signature else part


def result(name="Read", **more):
    return {"functionResponse": {"name": name, "response": {"output": "ok"}, **more}}


def turns(*parts, role=("model", "user")):
    told = [{"role": role[n % 2], "parts": part} for n, part in enumerate(parts)]
    return {"contents": [*BODY["contents"], *told]}


def functions(*names, **more):
    return {"tools": [{"functionDeclarations": [{"name": name, **more} for name in names]}]}


def parameters(**properties):
    return functions("Read", parameters={"type": "OBJECT", "properties": properties})


def config(**more):
    return {"generationConfig": more}


def thinking(**more):
    return config(thinkingConfig=more)


CASES = {
    "key_header": Case({}, {}, "Method doesn't allow unregistered callers", {"x-goog-api-key": ""}),
    "content_type": Case({}, {}, "Invalid JSON payload", {"content-type": ""}),
    "known_fields": Case(
        config(seed=1),
        config(stop=["a"]),
        "Unknown name \"stop\" at 'generation_config': Cannot find field.",
    ),
    "needed_fields": Case(
        {},
        {"contents": [{"role": "user", "parts": [{"thought": True}]}]},
        "contents[0].parts[0].data: required oneof field 'data' must have one initialized field",
    ),
    "roles": Case(
        turns([{"text": "a"}], [{"text": "b"}]),
        {"contents": [{"role": "system", "parts": [{"text": "s"}]}]},
        "Please use a valid role: user, model.",
    ),
    "pairs": Case(
        turns([call(), call(signature="")], [result(), result()]),
        turns([call(), call(signature="")], [result()]),
        "the number of function response parts is equal to the number of function call parts",
    ),
    "calls": Case(
        turns([call(id="a")], [result(id="a")]),
        turns([call(id="a")], [result("Write", id="a")]),
        "does not match the name of its function call",
    ),
    "thought_signatures": Case(
        turns([call()], [result()]),
        turns([call(signature="")], [result()]),
        "Function call is missing a thought_signature in functionCall parts.",
    ),
    "tools": Case(functions("a" * 64), functions("a" * 65), "Invalid function name."),
    "tool_config": Case(
        {
            "toolConfig": {
                "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["Read"]}
            }
        },
        {"toolConfig": {"functionCallingConfig": {"allowedFunctionNames": ["Read"]}}},
        "should only be set when the mode is ANY",
    ),
    "generation": Case(config(topK=1), config(topK=0), "topK must be in the range"),
    "thinking": Case(
        thinking(thinkingLevel="low"),
        thinking(thinkingLevel="low", thinkingBudget=128),
        "You can only set only one of thinking budget and thinking level.",
    ),
}
MORE = {
    "no contents": ({"contents": []}, PATH, "contents: contents is not specified"),
    "no parts": (turns([], [{"text": "a"}]), PATH, "contents.parts must not be empty."),
    "no parts in the instruction": ({"systemInstruction": {"parts": []}}, PATH, "system_instruction"),
    "a last turn of the model": (turns([{"text": "a"}]), PATH, "Requests ending with a model turn"),
    "the same, older": (turns([{"text": "a"}]), OLDER, None),
    "an unknown part": (turns([{"text": "a", "x": 1}], [{"text": "b"}]), PATH, "'contents[1].parts[0]'"),
    "results first": (
        {"contents": [{"role": "user", "parts": [result()]}]}, PATH, "function response turn comes",
    ),
    "a call first": (
        {"contents": [{"role": "model", "parts": [call()]}, {"role": "user", "parts": [result()]}]},
        PATH, "function call turn comes immediately after a user turn",
    ),
    "results in two turns": (
        turns([call(), call(signature="")], [result()], [result()], role=("model", "user")), PATH,
        "the number of function response parts",
    ),
    "arguments that are no object": (
        turns([call(args="{}")], [result()]), PATH, "contents[1].parts[0].function_call.args'",
    ),
    "no signature, older": (turns([call(signature="")], [result()]), OLDER, None),
    "no signature before the user's last words": (
        turns([call(signature="")], [result()], [{"text": "a"}], [{"text": "b"}]), PATH, None,
    ),
    "the second step unsigned": (
        turns([call()], [result()], [call(signature="")], [result()]), PATH, "position 4",
    ),
    "two functions of one name": (functions("a", "a"), PATH, "Duplicate function declaration found: a"),
    "a tool of nothing": ({"tools": [{"functionDeclarations": []}]}, PATH, "tools[0].tool_type"),
    "a keyword": (parameters(a={"type": "string", "const": "b"}), PATH, 'Unknown name "const"'),
    "an unknown type": (parameters(a={"type": ["string", "null"]}), PATH, "properties[a].type'"),
    "no type": (parameters(a={"description": "b"}), PATH, "properties[a].type: must be specified"),
    "an empty choice": (
        parameters(a={"type": "string", "enum": [""]}), PATH, "properties[a].enum[0]: cannot be empty",
    ),
    "a choice of numbers": (
        parameters(a={"type": "integer", "enum": ["1"]}), PATH, "enum: only allowed for STRING type",
    ),
    "a number as choice": (parameters(a={"type": "string", "enum": [1]}), PATH, "(TYPE_STRING), 1"),
    "an object of nothing": (
        parameters(a={"type": "object", "properties": {}}), PATH, "non-empty for OBJECT type",
    ),
    "a list of nothing": (parameters(a={"type": "array"}), PATH, "properties[a].items: missing field."),
    "a format": (
        parameters(a={"type": "string", "format": "uri"}), PATH,
        "format: only 'enum' and 'date-time' are supported for STRING type",
    ),
    "a name that is no property": (
        functions("a", parameters={**SCHEMA, "required": ["b"]}), PATH,
        "required[0]: property is not defined",
    ),
    "a union beside a word": (
        parameters(a={"anyOf": [{"type": "string"}], "description": "b"}), PATH, "alongside any_of",
    ),
    "a union alone": (parameters(a={"anyOf": [{"type": "string"}]}), PATH, None),
    "six stops": (config(stopSequences=list("abcdef")), PATH, "at most 5 stop sequences"),
    "a schema without type": (config(responseSchema=SCHEMA), PATH, "response_mime_type is not"),
    "JSON beside functions, older": (
        config(responseMimeType="application/json"), OLDER, "with a response mime type",
    ),
    "JSON beside functions": (config(responseMimeType="application/json"), PATH, None),
    "a level, older": (thinking(thinkingLevel="low"), OLDER, "Thinking level is not supported"),
    "no budget, Pro": (thinking(thinkingBudget=0), OLDER, "only works in thinking mode"),
    "a small budget": (
        thinking(thinkingBudget=256), OLDER.replace("pro", "flash-lite"),
        "The thinking budget 256 is invalid. Please choose a value between 512 and 24576.",
    ),
    "a name that is not declared": (
        {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["b"]}}},
        PATH, "`b` is not declared",
    ),
    "a mode": ({"toolConfig": {"functionCallingConfig": {"mode": "any"}}}, PATH, "Invalid value at"),
}  # fmt: skip


def test_every_rule_has_its_case():
    assert set(CASES) == {rule.__name__ for rule in RULES["gemini"]}


def of(more, headers=None, path=""):
    return told("gemini", GOOGLE, BODY, PATH, headers or {}, path, more)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_rule_takes_a_good_request_and_refuses_a_bad_one(case):
    assert of(case.taken) == []
    found = of(case.refused, case.headers)
    assert len(found) == 1, found
    assert case.words in found[0]


@pytest.mark.parametrize(("more", "path", "words"), MORE.values(), ids=MORE)
def test_more_requests(more, path, words):
    found = of(more, path=path)
    assert (found == []) if words is None else any(words in text for text in found), found


@pytest.mark.parametrize(
    "name", ["contents", "tools", "toolConfig", "systemInstruction", "generationConfig"]
)
@pytest.mark.parametrize("value", [1, "x", [1, "a", None], {"a": 1}, True])
def test_nonsense_is_no_failure_of_the_rules(name, value):
    assert isinstance(of({name: value}), list)


def test_a_fields_own_name_is_accepted_too():
    declared = {"name": "look", "parameters_json_schema": {"type": "object", "my_field": 1}}
    more = {"tools": [{"function_declarations": [declared]}], "generation_config": {"top_k": 3}}
    assert of(more) == []
    assert "must be in the range" in of({"generation_config": {"top_p": 3}})[0]
