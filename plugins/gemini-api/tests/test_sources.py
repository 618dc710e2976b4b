"""Sources of an answer, and what Gemini's API has no words for."""

import pytest

from plugway import replay
from plugway.testing import anthropic_message, respond, sse
from plugway_gemini_api._sources import Sources

pytestmark = pytest.mark.anyio

PAGE = {"type": "web_search_result_location", "url": "https://a.example/x", "title": "X"}
PAPER = {"type": "char_location", "document_title": "notes.txt", "cited_text": "rain"}
FOUND = {"type": "web_search_result", "url": "https://b.example/y", "title": "Y"}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search"}
CONTENT = [
    {**SEARCH, "input": {"query": "weather"}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [FOUND]},
    {"type": "text", "text": "Straße: "},
    {"type": "text", "text": "nass.", "citations": [PAGE, PAPER, PAGE]},
    {"type": "text", "text": " Ja.", "citations": [PAPER]},
]


def read(*content, reason="end_turn", **usage):
    sources = Sources()
    for event in replay({**anthropic_message(""), "content": list(content)}):
        sources.event(event)
    return sources.end(reason, usage), sources.lines


@pytest.mark.parametrize("stream", [False, True])
async def test_clients_are_told_the_sources_of_an_answer(claude, stream):
    message = {**anthropic_message(""), "content": CONTENT}
    if stream:
        claude.upstream.script(sse([(e.type, dict(e.data)) for e in replay(message)]))
        found = (await claude.stream())[-1]
    else:
        claude.upstream.script(respond(200, message))
        found = (await claude.generate()).json()
    assert found["candidates"][0]["groundingMetadata"] == {
        "webSearchQueries": ["weather"],
        "groundingChunks": [
            {"web": {"uri": "https://b.example/y", "title": "Y"}},
            {"web": {"uri": "https://a.example/x", "title": "X"}},
            {"retrievedContext": {"title": "notes.txt", "text": "rain"}},
        ],
        "groundingSupports": [
            {"segment": {"startIndex": 9, "endIndex": 14}, "groundingChunkIndices": [1, 2]},
            {"segment": {"startIndex": 14, "endIndex": 18}, "groundingChunkIndices": [2]},
        ],
    }


def test_an_answer_without_sources_has_no_such_member():
    assert read({"type": "text", "text": "x"}) == ({}, [])


def test_what_the_api_has_no_words_for_is_on_record_once():
    code = {"type": "server_tool_use", "id": "s", "name": "code_execution", "input": {}}
    nothing = {"type": "text", "text": "x", "citations": [{"type": "char_location"}]}
    found, lines = read(code, code, nothing, reason="pause_turn", cache_creation_input_tokens=3)
    assert found == {}
    assert lines == [
        "drop server_tool_use: the client's API does not support it",
        "drop citations: a source without title, text and URL",
        "translate stop_reason: the model paused and would continue, reported as `STOP`",
        "translate usage.cache_creation_input_tokens: counted as tokens of the prompt",
    ]


def test_the_sources_of_an_answer_are_bounded():
    pages = [{**PAGE, "url": f"https://a.example/{n}"} for n in range(1001)]
    found, lines = read({"type": "text", "text": "x", "citations": pages})
    assert len(found["groundingChunks"]) == 1000
    assert lines == ["drop citations: more than 1000 sources"]


def test_a_search_that_failed_has_no_pages():
    failed = {"type": "web_search_tool_result_error", "error_code": "unavailable"}
    block = {"type": "web_search_tool_result", "tool_use_id": "s", "content": failed}
    assert read(block) == ({}, [])
