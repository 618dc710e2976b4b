"""Requests of each dialect that have one feature more than a plain one.

A row is left out of a dialect that has no such thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plugway_gemini_api._seal import Sealed, sealed
from tests.receipts.rich import CACHE, PDF, PNG, SHOT

Fields = dict[str, Any]
TEXT_TYPE = {"type": "string"}
SCHEMA = {
    "type": "object",
    "properties": {"path": TEXT_TYPE},
    "required": ["path"],
    "additionalProperties": False,
}
READ = {"name": "Read", "description": "Reads a file."}
LIST = {"name": "List", "description": "Lists a folder."}
ANSWER = {
    "type": "object",
    "properties": {"done": {"type": "boolean"}},
    "required": ["done"],
    "additionalProperties": False,
}
ASKED = "Read a.txt."
PICTURE_URL = "https://example.com/a.png"
PNG_URL = f"data:image/png;base64,{PNG}"
PAPER_URL = "https://example.com/a.pdf"

# ── Messages ─────────────────────────────────────────────────────────────────────────────────────


def text(words: str, **more: Any) -> Fields:
    return {"type": "text", "text": words, **more}


def user(*blocks: Fields) -> Fields:
    return {"role": "user", "content": list(blocks)}


def said(*blocks: Fields) -> Fields:
    return {"role": "assistant", "content": list(blocks)}


def use(id_: str, name: str = "Read", **given: str) -> Fields:
    return {"type": "tool_use", "id": id_, "name": name, "input": given}


def result(id_: str, content: Any, **more: Any) -> Fields:
    return {"type": "tool_result", "tool_use_id": id_, "content": content, **more}


def source(kind: str, mime: str, data: str, **more: Any) -> Fields:
    return {"type": kind, "source": {"type": "base64", "media_type": mime, "data": data}, **more}


def messages(*turns: Fields, **more: Any) -> Fields:
    return {"messages": [*turns], **more}


def shown(*blocks: Fields) -> Fields:
    return messages(user(*blocks, text("What is it?")))


CALLED = (user(text(ASKED)), said(use("toolu_01Abc", path="a.txt")))
MESSAGES_TOOLS = [{**READ, "input_schema": SCHEMA}, {**LIST, "input_schema": SCHEMA}]
SEARCHED = (
    {"type": "server_tool_use", "id": "srvtoolu_01", "name": "web_search", "input": {"query": "x"}},
    {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_01",
        "content": [
            {
                "type": "web_search_result",
                "url": "https://example.com",
                "title": "Found it",
                "encrypted_content": "b3BhcXVl",
                "page_age": None,
            }
        ],
    },
)


def with_tool(tool: Fields) -> Fields:
    return {"tools": [*MESSAGES_TOOLS, tool]}


# ── Chat ─────────────────────────────────────────────────────────────────────────────────────────


def chat(*turns: Fields, **more: Any) -> Fields:
    return {"messages": [*turns], **more}


def chat_user(*parts: Fields) -> Fields:
    return {"role": "user", "content": [*parts]}


def chat_shown(*parts: Fields) -> Fields:
    return chat(chat_user(*parts, text("What is it?")))


def chat_call(id_: str, path: str) -> Fields:
    function = {"name": "Read", "arguments": f'{{"path":"{path}"}}'}
    return {"id": id_, "type": "function", "function": function}


def chat_called(*calls: Fields, **more: Any) -> Fields:
    return {"role": "assistant", "content": None, "tool_calls": [*calls], **more}


def chat_result(id_: str, content: Any) -> Fields:
    return {"role": "tool", "tool_call_id": id_, "content": content}


def function(tool: Fields, **more: Any) -> Fields:
    return {"type": "function", "function": {**tool, "parameters": SCHEMA, **more}}


CHAT_TOOLS = [function(READ), function(LIST)]
CHAT_ASKED = {"role": "user", "content": ASKED}
NAMED = {"type": "function", "function": {"name": "Read"}}

# ── Responses ────────────────────────────────────────────────────────────────────────────────────


def items(*found: Fields, **more: Any) -> Fields:
    return {"input": [*found], **more}


def message(role: str, *parts: Fields) -> Fields:
    return {"type": "message", "role": role, "content": [*parts]}


def input_text(words: str, **more: Any) -> Fields:
    return {"type": "input_text", "text": words, **more}


def items_shown(*parts: Fields) -> Fields:
    return items(message("user", *parts, input_text("What is it?")))


def item_call(id_: str, path: str) -> Fields:
    arguments = f'{{"path":"{path}"}}'
    return {"type": "function_call", "call_id": id_, "name": "Read", "arguments": arguments}


def output(id_: str, content: Any) -> Fields:
    return {"type": "function_call_output", "call_id": id_, "output": content}


def flat(tool: Fields, **more: Any) -> Fields:
    return {"type": "function", **tool, "parameters": SCHEMA, "strict": False, **more}


FLAT_TOOLS = [flat(READ), flat(LIST)]
ITEM_ASKED = message("user", input_text(ASKED))
ITEM_CALLED = (ITEM_ASKED, item_call("call_01Abc", "a.txt"))


def with_flat(tool: Fields) -> Fields:
    return {"tools": [*FLAT_TOOLS, tool]}


# ── Gemini ───────────────────────────────────────────────────────────────────────────────────────


def contents(*turns: Fields, **more: Any) -> Fields:
    return {"contents": [*turns], **more}


def turn(role: str, *parts: Fields) -> Fields:
    return {"role": role, "parts": [*parts]}


def part(words: str, **more: Any) -> Fields:
    return {"text": words, **more}


def parts_shown(*parts: Fields) -> Fields:
    return contents(turn("user", *parts, part("What is it?")))


def inline(mime: str, data: str, **more: Any) -> Fields:
    return {"inlineData": {"mimeType": mime, "data": data, **more}}


def stored(mime: str, uri: str, **more: Any) -> Fields:
    return {"fileData": {"mimeType": mime, "fileUri": uri, **more}}


def part_call(path: str, **more: str) -> Fields:
    return {"functionCall": {"name": "Read", "args": {"path": path}, **more}}


def part_result(response: Fields, **more: Any) -> Fields:
    return {"functionResponse": {"name": "Read", "response": response, **more}}


def config(**more: Any) -> Fields:
    return {"generationConfig": {"maxOutputTokens": 4096, **more}}


def calling(**more: Any) -> Fields:
    return {"toolConfig": {"functionCallingConfig": more}}


def declaration(tool: Fields, **more: Any) -> Fields:
    return {**tool, "parametersJsonSchema": SCHEMA, **more}


def with_declared(**more: Any) -> Fields:
    return {"tools": [*GEMINI_TOOLS, {"functionDeclarations": [declaration(SUM, **more)]}]}


def with_kind(**tool: Any) -> Fields:
    return {"tools": [*GEMINI_TOOLS, tool]}


SUM = {"name": "Sum"}
GEMINI_TOOLS = [{"functionDeclarations": [declaration(READ), declaration(LIST)]}]
PART_ASKED = turn("user", part(ASKED))
PART_CALLED = (PART_ASKED, turn("model", part_call("a.txt", id="fc_01Abc")))
PART_GREETED = (turn("user", part("Hi.")), turn("model", part("Hello.")), PART_ASKED)
SEALED = Sealed({"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"})


BASE: dict[str, Fields] = {
    "messages": {
        "model": "m",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": ASKED}],
        "tools": MESSAGES_TOOLS,
    },
    "chat": {
        "model": "m",
        "max_completion_tokens": 4096,
        "messages": [CHAT_ASKED],
        "tools": CHAT_TOOLS,
    },
    "responses": {
        "model": "m",
        "max_output_tokens": 4096,
        "store": False,
        "input": [ITEM_ASKED],
        "tools": FLAT_TOOLS,
    },
    "gemini": {"tools": GEMINI_TOOLS, **contents(PART_ASKED), **config()},
}
"""The plain request of each dialect."""
LISTENING: dict[str, Fields] = {
    "gemini": config(thinkingConfig={"includeThoughts": True}),
}
"""What a client has to ask for to be told all that an answer says."""
STREAMED: dict[str, Fields] = {
    "messages": {"stream": True},
    "chat": {"stream": True, "stream_options": {"include_usage": True}},
    "responses": {"stream": True},
    "gemini": {},
}
"""What asks for a stream, beside the path."""

Rows = Mapping[str, Mapping[str, Fields]]

CONVERSATION: Rows = {
    "user and assistant turns": {
        "messages": messages(user(text("Hi.")), said(text("Hello.")), user(text("And now?"))),
        "chat": chat(
            {"role": "user", "content": "Hi."},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "And now?"},
        ),
        "responses": items(
            message("user", input_text("Hi.")),
            message("assistant", {"type": "output_text", "text": "Hello.", "annotations": []}),
            message("user", input_text("And now?")),
        ),
        "gemini": contents(
            turn("user", part("Hi.")), turn("model", part("Hello.")), turn("user", part("And now?"))
        ),
    },
    "system prompt": {
        "messages": {"system": "Be brief."},
        "chat": chat({"role": "system", "content": "Be brief."}, CHAT_ASKED),
        "responses": {"instructions": "Be brief."},
        "gemini": {"systemInstruction": {"parts": [part("Be brief.")]}},
    },
    "system turn in the conversation": {
        "messages": messages(
            user(text("Hi.")),
            said(text("Hello.")),
            user(text(ASKED)),
            {"role": "system", "content": "Be brief from now on."},
        ),
        "chat": chat(
            {"role": "user", "content": "Hi."},
            {"role": "assistant", "content": "Hello."},
            CHAT_ASKED,
            {"role": "system", "content": "Be brief from now on."},
        ),
        "responses": items(
            message("user", input_text("Hi.")),
            message("assistant", {"type": "output_text", "text": "Hello.", "annotations": []}),
            ITEM_ASKED,
            message("system", input_text("Be brief from now on.")),
        ),
    },
    "developer turn between a call and its result": {
        "chat": chat(
            CHAT_ASKED,
            chat_called(chat_call("call_01Abc", "a.txt")),
            {"role": "developer", "content": "Be brief from now on."},
            chat_result("call_01Abc", "abc"),
        ),
        "responses": items(
            *ITEM_CALLED,
            message("developer", input_text("Be brief from now on.")),
            output("call_01Abc", "abc"),
        ),
    },
    "ids of tool calls and results": {
        "messages": messages(*CALLED, user(result("toolu_01Abc", "abc"))),
        "chat": chat(
            CHAT_ASKED,
            chat_called(chat_call("call_01Abc", "a.txt")),
            chat_result("call_01Abc", "abc"),
        ),
        "responses": items(*ITEM_CALLED, output("call_01Abc", "abc")),
        "gemini": contents(
            *PART_CALLED, turn("user", part_result({"output": "abc"}, id="fc_01Abc"))
        ),
    },
    "parallel calls, results in another order": {
        "messages": messages(
            user(text(ASKED)),
            said(use("toolu_01Abc", path="a.txt"), use("toolu_02Def", path="b.txt")),
            user(result("toolu_02Def", "def"), result("toolu_01Abc", "abc")),
        ),
        "chat": chat(
            CHAT_ASKED,
            chat_called(chat_call("call_01Abc", "a.txt"), chat_call("call_02Def", "b.txt")),
            chat_result("call_02Def", "def"),
            chat_result("call_01Abc", "abc"),
        ),
        "responses": items(
            *ITEM_CALLED,
            item_call("call_02Def", "b.txt"),
            output("call_02Def", "def"),
            output("call_01Abc", "abc"),
        ),
        "gemini": contents(
            PART_ASKED,
            turn("model", part_call("a.txt", id="fc_01Abc"), part_call("b.txt", id="fc_02Def")),
            turn(
                "user",
                part_result({"output": "def"}, id="fc_02Def"),
                part_result({"output": "abc"}, id="fc_01Abc"),
            ),
        ),
    },
    "tool result with an error": {
        "messages": messages(*CALLED, user(result("toolu_01Abc", "no file", is_error=True))),
        "gemini": contents(
            *PART_CALLED, turn("user", part_result({"error": "no file"}, id="fc_01Abc"))
        ),
    },
    "text next to a tool result": {
        "messages": messages(*CALLED, user(result("toolu_01Abc", "abc"), text("And then?"))),
        "chat": chat(
            CHAT_ASKED,
            chat_called(chat_call("call_01Abc", "a.txt")),
            chat_result("call_01Abc", "abc"),
            {"role": "user", "content": "And then?"},
        ),
        "responses": items(
            *ITEM_CALLED,
            output("call_01Abc", "abc"),
            message("user", input_text("And then?")),
        ),
        "gemini": contents(
            *PART_CALLED,
            turn("user", part_result({"output": "abc"}, id="fc_01Abc"), part("And then?")),
        ),
    },
    "prefilled assistant turn": {
        "messages": messages(user(text("Hi.")), said(text("Well,"))),
        "gemini": contents(turn("user", part("Hi.")), turn("model", part("Well,"))),
    },
    "participant name": {
        "chat": chat({**CHAT_ASKED, "name": "Ann"}),
    },
    "search result blocks": {
        "messages": shown(
            {
                "type": "search_result",
                "title": "Found it",
                "source": "https://example.com",
                "content": [text("a hit")],
            }
        ),
    },
    "calls without ids": {
        "gemini": contents(
            PART_ASKED,
            turn("model", part_call("a.txt"), part_call("b.txt")),
            turn("user", part_result({"output": "abc"}), part_result({"output": "def"})),
        )
    },
    "tool result with several values": {
        "gemini": contents(
            *PART_CALLED, turn("user", part_result({"lines": 3, "words": "abc"}, id="fc_01Abc"))
        )
    },
}

TOOLS: Rows = {
    "`tool_choice`: auto": {
        "messages": {"tool_choice": {"type": "auto"}},
        "chat": {"tool_choice": "auto"},
        "responses": {"tool_choice": "auto"},
        "gemini": calling(mode="AUTO"),
    },
    "`tool_choice`: any": {
        "messages": {"tool_choice": {"type": "any"}},
        "chat": {"tool_choice": "required"},
        "responses": {"tool_choice": "required"},
        "gemini": calling(mode="ANY"),
    },
    "`tool_choice`: a named tool": {
        "messages": {"tool_choice": {"type": "tool", "name": "Read"}},
        "chat": {"tool_choice": NAMED},
        "responses": {"tool_choice": {"type": "function", "name": "Read"}},
        "gemini": calling(mode="ANY", allowedFunctionNames=["Read"]),
    },
    "`tool_choice`: none": {
        "messages": {"tool_choice": {"type": "none"}},
        "chat": {"tool_choice": "none"},
        "responses": {"tool_choice": "none"},
        "gemini": calling(mode="NONE"),
    },
    "`tool_choice`: allowed tools": {
        "chat": {
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [NAMED]},
            }
        },
        "responses": {
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "Read"}],
            }
        },
        "gemini": {**with_declared(), **calling(mode="ANY", allowedFunctionNames=["Read", "List"])},
    },
    "no parallel tool calls": {
        "messages": {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        "chat": {"parallel_tool_calls": False},
        "responses": {"parallel_tool_calls": False},
    },
    "strict tool schema": {
        "messages": with_tool({"name": "Sum", "input_schema": SCHEMA, "strict": True}),
        "chat": {"tools": [*CHAT_TOOLS, function({"name": "Sum"}, strict=True)]},
        "responses": with_flat(flat({"name": "Sum"}, strict=True)),
    },
    "tool input examples": {
        "messages": with_tool(
            {"name": "Sum", "input_schema": SCHEMA, "input_examples": [{"path": "a.txt"}]}
        ),
    },
    "calls that match their schema (`VALIDATED`)": {"gemini": calling(mode="VALIDATED")},
    "tool schema in Gemini's format": {
        "gemini": {
            "tools": [
                *GEMINI_TOOLS,
                {
                    "functionDeclarations": [
                        {
                            **SUM,
                            "parameters": {
                                "type": "OBJECT",
                                "properties": {
                                    "of": {
                                        "type": "ARRAY",
                                        "minItems": "1",
                                        "items": {"type": "STRING", "nullable": True},
                                    }
                                },
                                "required": ["of"],
                            },
                        }
                    ]
                },
            ]
        }
    },
    "schema of a tool result": {"gemini": with_declared(responseJsonSchema=ANSWER)},
    "non-blocking calls": {"gemini": with_declared(behavior="NON_BLOCKING")},
    "streamed call arguments": {"gemini": calling(mode="AUTO", streamFunctionCallArguments=True)},
}

CLIENT_TOOLS: Rows = {
    "`bash`": {"messages": with_tool({"type": "bash_20250124", "name": "bash"})},
    "`text_editor`": {
        "messages": with_tool(
            {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}
        )
    },
    "`memory`": {"messages": with_tool({"type": "memory_20250818", "name": "memory"})},
    "`computer`": {
        "messages": with_tool(
            {
                "type": "computer_20250124",
                "name": "computer",
                "display_width_px": 1024,
                "display_height_px": 768,
            }
        ),
        "gemini": with_kind(computerUse={"environment": "ENVIRONMENT_BROWSER"}),
    },
    "plain-text tools (`custom`)": {
        "chat": {"tools": [*CHAT_TOOLS, {"type": "custom", "custom": {"name": "Sql"}}]},
        "responses": with_flat({"type": "custom", "name": "Sql", "description": "Runs SQL."}),
    },
    "`local_shell`": {"responses": with_flat({"type": "local_shell"})},
    "`shell`": {"responses": with_flat({"type": "shell"})},
    "`apply_patch`": {"responses": with_flat({"type": "apply_patch"})},
    "client's `tool_search`": {
        "responses": with_flat({"type": "tool_search", "execution": "client"})
    },
    "tool namespaces": {
        "responses": with_flat({"type": "namespace", "name": "files", "tools": [flat(READ)]})
    },
}

SERVER_TOOLS: Rows = {
    "web search": {
        "messages": with_tool({"type": "web_search_20250305", "name": "web_search"}),
        "chat": {"web_search_options": {}},
        "responses": with_flat({"type": "web_search"}),
        "gemini": with_kind(googleSearch={}),
    },
    "web fetch": {
        "messages": with_tool({"type": "web_fetch_20250910", "name": "web_fetch"}),
        "gemini": with_kind(urlContext={}),
    },
    "code execution": {
        "messages": with_tool({"type": "code_execution_20250825", "name": "code_execution"}),
        "responses": with_flat({"type": "code_interpreter", "container": {"type": "auto"}}),
        "gemini": with_kind(codeExecution={}),
    },
    "tools of MCP servers": {
        "messages": {
            "mcp_servers": [{"type": "url", "url": "https://example.com/mcp", "name": "files"}]
        },
        "responses": with_flat(
            {"type": "mcp", "server_label": "files", "server_url": "https://example.com/mcp"}
        ),
        "gemini": with_kind(
            mcpServers=[
                {"name": "files", "streamableHttpTransport": {"url": "https://example.com/mcp"}}
            ]
        ),
    },
    "file search": {
        "responses": with_flat({"type": "file_search", "vector_store_ids": ["vs_1"]}),
        "gemini": with_kind(fileSearch={"fileSearchStoreNames": ["fileSearchStores/1"]}),
    },
    "image generation": {
        "responses": with_flat({"type": "image_generation"}),
        "gemini": config(responseModalities=["TEXT", "IMAGE"]),
    },
    "earlier search by the vendor's servers": {
        "messages": messages(
            user(text("Look it up.")), said(*SEARCHED, text("Found.")), user(text("Thanks."))
        ),
        "responses": items(
            message("user", input_text("Look it up.")),
            {
                "type": "web_search_call",
                "id": "ws_1",
                "status": "completed",
                "action": {"type": "search", "query": "x"},
            },
            message("assistant", {"type": "output_text", "text": "Found.", "annotations": []}),
            message("user", input_text("Thanks.")),
        ),
        "gemini": contents(
            turn("user", part("Look it up.")),
            turn(
                "model",
                {
                    "toolCall": {
                        "id": "1",
                        "toolType": "GOOGLE_SEARCH_WEB",
                        "args": {"queries": ["x"]},
                    }
                },
                {
                    "toolResponse": {
                        "id": "1",
                        "toolType": "GOOGLE_SEARCH_WEB",
                        "response": {"hits": "a hit"},
                    }
                },
                part("Found."),
            ),
            turn("user", part("Thanks.")),
        ),
    },
    "Google Maps": {
        "gemini": {
            **with_kind(googleMaps={}),
            "toolConfig": {"retrievalConfig": {"languageCode": "en"}},
        }
    },
    "earlier code execution by the vendor's servers": {
        "gemini": contents(
            turn("user", part("Count.")),
            turn(
                "model",
                {"executableCode": {"language": "PYTHON", "code": "print(3)"}},
                {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "3"}},
                part("Three."),
            ),
            turn("user", part("Thanks.")),
        )
    },
}

MEDIA: Rows = {
    "image": {
        "messages": shown(source("image", "image/png", PNG)),
        "chat": chat_shown({"type": "image_url", "image_url": {"url": PNG_URL}}),
        "responses": items_shown({"type": "input_image", "detail": "auto", "image_url": PNG_URL}),
        "gemini": parts_shown(inline("image/png", PNG)),
    },
    "image URL": {
        "messages": shown({"type": "image", "source": {"type": "url", "url": PICTURE_URL}}),
        "chat": chat_shown({"type": "image_url", "image_url": {"url": PICTURE_URL}}),
        "responses": items_shown(
            {"type": "input_image", "detail": "auto", "image_url": PICTURE_URL}
        ),
        "gemini": parts_shown(stored("image/png", PICTURE_URL)),
    },
    "image in a tool result": {
        "messages": messages(
            *CALLED, user(result("toolu_01Abc", [source("image", "image/png", SHOT)]))
        ),
        "responses": items(
            *ITEM_CALLED,
            output(
                "call_01Abc",
                [
                    {
                        "type": "input_image",
                        "detail": "auto",
                        "image_url": f"data:image/png;base64,{SHOT}",
                    }
                ],
            ),
        ),
        "gemini": contents(
            *PART_CALLED,
            turn("user", part_result({}, id="fc_01Abc", parts=[inline("image/png", SHOT)])),
        ),
    },
    "image resolution": {
        "chat": chat_shown(
            {
                "type": "image_url",
                "image_url": {"url": PNG_URL, "detail": "high"},
            }
        ),
        "responses": items_shown({"type": "input_image", "detail": "high", "image_url": PNG_URL}),
        "gemini": parts_shown(
            {**inline("image/png", PNG), "mediaResolution": {"level": "MEDIA_RESOLUTION_HIGH"}}
        ),
    },
    "PDF": {
        "messages": shown(source("document", "application/pdf", PDF, title="paper.pdf")),
        "chat": chat_shown(
            {
                "type": "file",
                "file": {
                    "filename": "paper.pdf",
                    "file_data": f"data:application/pdf;base64,{PDF}",
                },
            }
        ),
        "responses": items_shown(
            {
                "type": "input_file",
                "filename": "paper.pdf",
                "file_data": f"data:application/pdf;base64,{PDF}",
            }
        ),
        "gemini": parts_shown(inline("application/pdf", PDF, displayName="paper.pdf")),
    },
    "PDF URL": {
        "messages": shown(
            {"type": "document", "title": "paper.pdf", "source": {"type": "url", "url": PAPER_URL}}
        ),
        "responses": items_shown({"type": "input_file", "file_url": PAPER_URL}),
        "gemini": parts_shown(stored("application/pdf", PAPER_URL, displayName="paper.pdf")),
    },
    "text document": {
        "messages": shown(
            {
                "type": "document",
                "title": "notes.txt",
                "source": {"type": "text", "media_type": "text/plain", "data": "Some notes."},
            }
        ),
        "gemini": parts_shown(inline("text/plain", "U29tZSBub3Rlcy4=", displayName="notes.txt")),
    },
    "uploaded file": {
        "messages": shown({"type": "document", "source": {"type": "file", "file_id": "file_1"}}),
        "chat": chat_shown({"type": "file", "file": {"file_id": "file-1"}}),
        "responses": items_shown({"type": "input_file", "file_id": "file-1"}),
        "gemini": parts_shown(
            stored("application/pdf", "https://generativelanguage.googleapis.com/v1beta/files/1")
        ),
    },
    "audio": {
        "chat": chat_shown(
            {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
        ),
        "gemini": parts_shown(inline("audio/wav", "UklGRg==")),
    },
    "document citations": {
        "messages": shown(source("document", "application/pdf", PDF, citations={"enabled": True})),
    },
    "video": {"gemini": parts_shown(inline("video/mp4", "AAAAGA=="))},
    "video URL": {"gemini": parts_shown(stored("video/mp4", "https://www.youtube.com/watch?v=1"))},
    "media resolution": {
        "gemini": {
            **parts_shown(inline("image/png", PNG)),
            **config(mediaResolution="MEDIA_RESOLUTION_LOW"),
        }
    },
}

THINKING: Rows = {
    "thinking with a budget": {
        "messages": {"thinking": {"type": "enabled", "budget_tokens": 2048}},
        "gemini": config(thinkingConfig={"thinkingBudget": 2048}),
    },
    "adaptive thinking": {
        "messages": {"thinking": {"type": "adaptive"}},
        "gemini": config(thinkingConfig={"thinkingBudget": -1}),
    },
    "no thinking": {
        "messages": {"thinking": {"type": "disabled"}},
        "chat": {"reasoning_effort": "none"},
        "responses": {"reasoning": {"effort": "none"}},
        "gemini": config(thinkingConfig={"thinkingBudget": 0}),
    },
    "effort": {
        "messages": {"output_config": {"effort": "high"}},
        "chat": {"reasoning_effort": "high"},
        "responses": {"reasoning": {"effort": "high"}},
        "gemini": config(thinkingConfig={"thinkingLevel": "HIGH"}),
    },
    "thinking summary": {
        "responses": {"reasoning": {"effort": "high", "summary": "auto"}},
        "gemini": config(thinkingConfig={"thinkingLevel": "HIGH", "includeThoughts": True}),
    },
    "another model's thinking, sent back": {
        "messages": messages(
            user(text("Hi.")),
            said({"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"}, text("Hello.")),
            user(text(ASKED)),
        ),
        "chat": chat(
            {"role": "user", "content": "Hi."},
            {"role": "assistant", "content": "Hello.", "reasoning_content": "Hm."},
            CHAT_ASKED,
        ),
        "responses": items(
            message("user", input_text("Hi.")),
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "Hm."}],
                "encrypted_content": "gAAAA",
            },
            message("assistant", {"type": "output_text", "text": "Hello.", "annotations": []}),
            ITEM_ASKED,
        ),
        "gemini": contents(
            turn("user", part("Hi.")),
            turn("model", part("Hm.", thought=True), part("Hello.", thoughtSignature="Z29vZ2xl")),
            PART_ASKED,
        ),
    },
    "earlier thinking, sent back": {
        "gemini": contents(
            turn("user", part("Hi.")),
            turn("model", part("Hello.", thoughtSignature=sealed([SEALED], "m"))),
            PART_ASKED,
        )
    },
}

CACHING: Rows = {
    "cache marker on the system prompt": {
        "messages": {"system": [text("Be brief.", cache_control=CACHE)]},
        "chat": chat(
            {"role": "system", "content": [text("Be brief.", cache_control=CACHE)]}, CHAT_ASKED
        ),
    },
    "cache marker on a turn": {
        "messages": messages(user(text(ASKED, cache_control=CACHE))),
        "chat": chat(chat_user(text(ASKED, cache_control=CACHE))),
    },
    "cache marker on a tool": {
        "messages": with_tool({"name": "Sum", "input_schema": SCHEMA, "cache_control": CACHE}),
        "chat": {"tools": [*CHAT_TOOLS, {**function({"name": "Sum"}), "cache_control": CACHE}]},
    },
    "cache marker of the whole request": {"messages": {"cache_control": CACHE}},
    "`prompt_cache_key`": {
        "chat": {"prompt_cache_key": "talk-1"},
        "responses": {"prompt_cache_key": "talk-1"},
    },
    "`prompt_cache_retention`": {
        "chat": {"prompt_cache_retention": "24h"},
        "responses": {"prompt_cache_retention": "24h"},
    },
    "`cachedContent`": {"gemini": {"cachedContent": "cachedContents/1"}},
}

OUTPUT: Rows = {
    "JSON by a schema": {
        "messages": {"output_config": {"format": {"type": "json_schema", "schema": ANSWER}}},
        "chat": {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": ANSWER, "strict": True},
            }
        },
        "responses": {
            "text": {
                "format": {
                    "type": "json_schema",
                    "name": "answer",
                    "schema": ANSWER,
                    "strict": True,
                }
            }
        },
        "gemini": config(responseMimeType="application/json", responseJsonSchema=ANSWER),
    },
    "JSON without a schema": {
        "chat": {"response_format": {"type": "json_object"}},
        "responses": {"text": {"format": {"type": "json_object"}}},
        "gemini": config(responseMimeType="application/json"),
    },
    "verbosity": {
        "chat": {"verbosity": "low"},
        "responses": {"text": {"verbosity": "low"}},
    },
    "maximum tokens": {
        "messages": {"max_tokens": 2048},
        "chat": {"max_completion_tokens": 2048},
        "responses": {"max_output_tokens": 2048},
        "gemini": {"generationConfig": {"maxOutputTokens": 2048}},
    },
    "stop sequences": {
        "messages": {"stop_sequences": ["STOP"]},
        "chat": {"stop": ["STOP"]},
        "gemini": config(stopSequences=["STOP"]),
    },
    "temperature": {
        "messages": {"temperature": 0.5},
        "chat": {"temperature": 0.5},
        "responses": {"temperature": 0.5},
        "gemini": config(temperature=0.5),
    },
    "temperature above 1": {
        "chat": {"temperature": 1.5},
        "responses": {"temperature": 1.5},
        "gemini": config(temperature=1.5),
    },
    "`top_p`": {
        "messages": {"top_p": 0.9},
        "chat": {"top_p": 0.9},
        "responses": {"top_p": 0.9},
        "gemini": config(topP=0.9),
    },
    "`top_k`": {
        "messages": {"top_k": 40},
        "gemini": config(topK=40),
    },
    "`seed`": {
        "chat": {"seed": 7},
        "gemini": config(seed=7),
    },
    "`frequency_penalty`": {
        "chat": {"frequency_penalty": 0.5},
        "gemini": config(frequencyPenalty=0.5),
    },
    "`presence_penalty`": {
        "chat": {"presence_penalty": 0.5},
        "gemini": config(presencePenalty=0.5),
    },
    "`logit_bias`": {"chat": {"logit_bias": {"50256": -100}}},
    "log probabilities": {
        "chat": {"logprobs": True, "top_logprobs": 2},
        "responses": {"top_logprobs": 2, "include": ["message.output_text.logprobs"]},
        "gemini": config(responseLogprobs=True, logprobs=2),
    },
    "several choices": {
        "chat": {"n": 2},
        "gemini": config(candidateCount=2),
    },
    "predicted output": {"chat": {"prediction": {"type": "content", "content": "abc"}}},
    "audio output": {
        "chat": {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
        "gemini": config(responseModalities=["AUDIO"], speechConfig={"languageCode": "en-US"}),
    },
    "JSON by a schema in Gemini's words": {
        "gemini": config(
            responseMimeType="application/json",
            responseSchema={
                "type": "OBJECT",
                "properties": {"done": {"type": "BOOLEAN", "nullable": True}},
                "required": ["done"],
            },
        )
    },
    "JSON by `responseFormat`": {
        "gemini": config(
            responseFormat={"text": {"mimeType": "APPLICATION_JSON", "schema": ANSWER}}
        )
    },
    "enum output (`text/x.enum`)": {
        "gemini": config(
            responseMimeType="text/x.enum", responseSchema={"type": "STRING", "enum": ["yes", "no"]}
        )
    },
}

ACCOUNT: Rows = {
    "user id": {
        "messages": {"metadata": {"user_id": "user_1"}},
        "chat": {"safety_identifier": "user_1"},
        "responses": {"safety_identifier": "user_1"},
    },
    "`user`": {"chat": {"user": "user_1"}, "responses": {"user": "user_1"}},
    "labels (`metadata`)": {
        "chat": {"metadata": {"job": "nightly"}},
        "responses": {"metadata": {"job": "nightly"}},
        "gemini": {"labels": {"job": "nightly"}},
    },
    "`service_tier`": {
        "messages": {"service_tier": "standard_only"},
        "chat": {"service_tier": "flex"},
        "responses": {"service_tier": "flex"},
        "gemini": {"serviceTier": "flex"},
    },
    "`speed`": {"messages": {"speed": "fast"}},
    "inference location": {"messages": {"inference_geo": "us"}},
    "container": {"messages": {"container": "c_1"}},
    "context editing": {
        "messages": {
            "context_management": {
                "edits": [
                    {
                        "type": "clear_tool_uses_20250919",
                        "trigger": {"type": "tool_uses", "value": 9},
                        "keep": {"type": "tool_uses", "value": 1},
                    }
                ]
            }
        },
        "responses": {"context_management": [{"type": "compaction", "compact_threshold": 90000}]},
    },
    "stored responses": {
        "chat": {"store": True},
        "responses": {"store": True},
        "gemini": {"store": True},
    },
    "`previous_response_id`": {"responses": {"previous_response_id": "resp_1"}},
    "`item_reference`": {"responses": items(ITEM_ASKED, {"type": "item_reference", "id": "msg_1"})},
    "background responses": {"responses": {"background": True}},
    "stored prompts": {"responses": {"prompt": {"id": "pmpt_1"}}},
    "truncation": {"responses": {"truncation": "auto"}},
    "maximum tool calls": {"responses": {"max_tool_calls": 3}},
    "unknown field": {
        "messages": {"a_new_field": 1},
        "chat": {"a_new_field": 1},
        "responses": {"a_new_field": 1},
        "gemini": {"aNewField": 1},
    },
    "vendor filters (`safetySettings`)": {
        "gemini": {
            "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
        }
    },
    "model selection by the vendor": {
        "gemini": config(modelSelectionConfig={"featureSelectionPreference": "BALANCED"})
    },
    "unknown setting": {"gemini": config(aNewSetting=1)},
}

REQUESTS: Mapping[str, Rows] = {
    "Conversation": CONVERSATION,
    "Tools": TOOLS,
    "Client tools": CLIENT_TOOLS,
    "Server tools": SERVER_TOOLS,
    "Images and documents": MEDIA,
    "Thinking": THINKING,
    "Caching": CACHING,
    "Output settings": OUTPUT,
    "Account and state": ACCOUNT,
}
"""The rows about requests, by section."""

_NO_MEDIUM: Mapping[str, Fields] = {
    "messages": shown(),
    "chat": chat_shown(),
    "responses": items_shown(),
    "gemini": parts_shown(),
}
_GREETED: Mapping[str, Fields] = {
    "messages": messages(user(text("Hi.")), said(text("Hello.")), user(text(ASKED))),
    "chat": chat(
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello."},
        CHAT_ASKED,
    ),
    "responses": items(
        message("user", input_text("Hi.")),
        message("assistant", {"type": "output_text", "text": "Hello.", "annotations": []}),
        ITEM_ASKED,
    ),
    "gemini": contents(*PART_GREETED),
}
WITHOUT: Mapping[str, Mapping[str, Fields]] = {
    **dict.fromkeys(MEDIA, _NO_MEDIUM),
    "system turn in the conversation": _GREETED,
    "another model's thinking, sent back": _GREETED,
    "search result blocks": _NO_MEDIUM,
    "prefilled assistant turn": {
        "messages": messages(user(text("Hi."))),
        "gemini": contents(turn("user", part("Hi."))),
    },
    "earlier search by the vendor's servers": {
        "messages": messages(
            user(text("Look it up.")), said(text("Found.")), user(text("Thanks."))
        ),
        "responses": items(
            message("user", input_text("Look it up.")),
            message("assistant", {"type": "output_text", "text": "Found.", "annotations": []}),
            message("user", input_text("Thanks.")),
        ),
        "gemini": contents(
            turn("user", part("Look it up.")),
            turn("model", part("Found.")),
            turn("user", part("Thanks.")),
        ),
    },
    "strict tool schema": {
        "messages": with_tool({"name": "Sum", "input_schema": SCHEMA}),
        "chat": {"tools": [*CHAT_TOOLS, function({"name": "Sum"})]},
        "responses": with_flat(flat({"name": "Sum"})),
    },
    "tool input examples": {
        "messages": with_tool({"name": "Sum", "input_schema": SCHEMA}),
    },
    "cache marker on a tool": {
        "messages": with_tool({"name": "Sum", "input_schema": SCHEMA}),
        "chat": {"tools": [*CHAT_TOOLS, function({"name": "Sum"})]},
    },
    "cache marker on the system prompt": {
        "messages": {"system": [text("Be brief.")]},
        "chat": chat({"role": "system", "content": "Be brief."}, CHAT_ASKED),
    },
    "tool result with an error": {
        "messages": messages(*CALLED, user(result("toolu_01Abc", "no file"))),
        "gemini": contents(
            *PART_CALLED, turn("user", part_result({"output": "no file"}, id="fc_01Abc"))
        ),
    },
    "image resolution": {
        "chat": chat_shown({"type": "image_url", "image_url": {"url": PNG_URL}}),
        "responses": items_shown({"type": "input_image", "detail": "auto", "image_url": PNG_URL}),
        "gemini": parts_shown(inline("image/png", PNG)),
    },
    "document citations": {
        "messages": shown(source("document", "application/pdf", PDF)),
    },
    "image in a tool result": {
        "messages": messages(*CALLED, user(result("toolu_01Abc", []))),
        "responses": items(*ITEM_CALLED, output("call_01Abc", [])),
        "gemini": contents(*PART_CALLED, turn("user", part_result({}, id="fc_01Abc"))),
    },
    "text next to a tool result": {
        "messages": messages(*CALLED, user(result("toolu_01Abc", "abc"))),
        "chat": chat(
            CHAT_ASKED,
            chat_called(chat_call("call_01Abc", "a.txt")),
            chat_result("call_01Abc", "abc"),
        ),
        "responses": items(*ITEM_CALLED, output("call_01Abc", "abc")),
        "gemini": contents(
            *PART_CALLED, turn("user", part_result({"output": "abc"}, id="fc_01Abc"))
        ),
    },
    "calls without ids": {"gemini": contents(PART_ASKED)},
    "tool result with several values": {
        "gemini": contents(*PART_CALLED, turn("user", part_result({}, id="fc_01Abc")))
    },
    "`tool_choice`: allowed tools": {"gemini": with_declared()},
    "schema of a tool result": {"gemini": with_declared()},
    "non-blocking calls": {"gemini": with_declared()},
    "streamed call arguments": {"gemini": calling(mode="AUTO")},
    "earlier code execution by the vendor's servers": {
        "gemini": contents(
            turn("user", part("Count.")),
            turn("model", part("Three.")),
            turn("user", part("Thanks.")),
        )
    },
    "media resolution": {"gemini": parts_shown(inline("image/png", PNG))},
    "earlier thinking, sent back": {"gemini": contents(*PART_GREETED)},
}
"""The requests that some rows would be without their feature, where that is not the plain one."""

VALUES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "ids of tool calls and results": {
        "messages": ("toolu_01Abc",),
        "chat": ("call_01Abc",),
        "responses": ("call_01Abc",),
        "gemini": ("fc_01Abc",),
    },
}
"""Rows about single values: kept where these stand in what arrived."""

OBEYED = (
    "`tool_choice`: any",
    "`tool_choice`: a named tool",
    "`tool_choice`: allowed tools",
)
"""Rows of which it is seen in the answer whether they were obeyed."""
