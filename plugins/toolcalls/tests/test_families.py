"""Every recorded sample of every family, and which template means which family."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway_toolcalls import FAMILIES, OutputParser, detect_family
from plugway_toolcalls._families import Family, Sample
from plugway_toolcalls._write import write_call
from plugway_toolcalls.testing import as_blocks

from .conftest import TOOLS

SAMPLES = [
    pytest.param(family, sample, id=f"{family.name}-{number}")
    for family in FAMILIES
    for number, sample in enumerate(family.samples)
]


def expected(sample: Sample):
    return [
        ("call", block[1], json.loads(block[2])) if block[0] == "call" else block
        for block in sample.blocks
    ]


@pytest.mark.parametrize(("family", "sample"), SAMPLES)
def test_a_recorded_reply_gives_its_blocks(family: Family, sample: Sample, tools, blocks):
    parser = OutputParser(family, tools, thinking=sample.thinking)
    parts = parser.feed(sample.text) + parser.finish()
    assert blocks(parts) == expected(sample)


@pytest.mark.parametrize(("family", "sample"), SAMPLES)
def test_a_reply_in_single_characters_gives_the_same_blocks(family, sample, tools, blocks):
    parser = OutputParser(family, tools, thinking=sample.thinking)
    parts = [part for character in sample.text for part in parser.feed(character)]
    assert blocks(parts + parser.finish()) == expected(sample)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_has_six_samples_or_more(family: Family):
    assert len(family.samples) >= 6


WORDS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00<>|｜[]\n"))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@settings(max_examples=25, deadline=None)
@given(file_path=WORDS, content=WORDS)
def test_a_call_that_is_written_is_read_back(family: Family, file_path: str, content: str):
    arguments = {"content": content, "file_path": file_path}
    parser = OutputParser(family, TOOLS)
    parts = parser.feed(write_call(family, "Write", arguments)) + parser.finish()
    assert as_blocks(parts) == [("call", "Write", arguments)]


TEMPLATES = {
    "<|im_start|>{{ message.role }} <tool_call> {{ tool_call.arguments }}": "hermes",
    "<tool_call>\n<function={{ name }}>\n<parameter={{ key }}>": "qwen-coder",
    "<seed:tool_call><function={{ name }}><parameter={{ key }}>": "seed-oss",
    "<|start_header_id|>user<|end_header_id|> {{ x }}<|eot_id|>": "llama",
    "<|start_header_id|>x<|end_header_id|> >>>${recipient} >>>all<|eot_id|>": "functionary-v3.2",
    "[AVAILABLE_TOOLS][TOOL_CALLS][": "mistral-v3",
    "[SYSTEM_PROMPT]x[/SYSTEM_PROMPT][TOOL_CALLS]name[ARGS]": "mistral",
    "<s>[INST] {{ x }} [/INST]": "mistral-v3",
    "<start_of_turn>model": "gemma",
    "<start_of_turn>model<start_function_call>call:": "function-gemma",
    "<|turn>model <|tool_call>call:": "gemma4",
    "<|start|>assistant<|channel|>analysis<|message|>": "harmony",
    "[gMASK]<sop><|assistant|><arg_key>k</arg_key>\n<arg_value>": "glm",
    "<arg_key>{{ k }}</arg_key><arg_value>": "glm4.7",
    "<｜Assistant｜><｜tool▁calls▁begin｜>function<｜tool▁sep｜>n\n```json": "deepseek",
    "<｜Assistant｜><｜tool▁calls▁begin｜>n<｜tool▁sep｜>": "deepseek-v3.1",
    "{% set dsml_token = '｜DSML｜' %}": "deepseek-v3.2",
    "{% set dsml_token = '｜DSML｜' %}'<' + dsml_token + 'tool_calls>'": "deepseek-v4",
    "'<TOOLCALL>[' {{ call }} ']</TOOLCALL>'": "nemotron",
    "respond only with <|tool_call|> <|start_of_role|>system<|end_of_role|>": "granite",
    "]~b]ai <minimax:tool_call><invoke name=": "minimax",
    "<|im_assistant|>a<|im_middle|><|tool_call_begin|>": "kimi",
    "ns_token = ']<]minimax[>['": "minimax-m3",
    "'<beginning_of_sentence>ai name=assistant\n<tool_calls>\n'": "minimax-m1",
    "'<|open|>' + tag + '<|sep|>'": "kimi-k3",
    "'<tool_call{}>'.format(':opensource') '<tool_sep{}>'": "hunyuan",
    "<longcat_tool_call>{{ call }}</longcat_tool_call>": "longcat",
    "function<steptml:invoke name=": "step3",
    "<|im_start|>assistant\n<function_calls>{{ calls }}</function_calls>": "olmo",
    "<|tool_call:begin|>id<|tool_call:name|>": "solar",
    "<atem:function_calls><atem:invoke name=": "muse",
    "'<function name=\"' ~ name '<param name=\"' ~ key": "minicpm",
    "List of tools: <|tool_list_start|>[": "lfm2",
    "<|im_start|>system\nList of tools: [ keep_past_thinking": "lfm2",
    "tool_calls_token = '<|tools_prefix|>'": "apertus",
    "<|START_ACTION|>[": "cohere",
    "'\\nAction:\\n```json\\n[' \"tool_name\"": "command-r",
    "<|role_sep|> <|message_sep|> <|function_call|>": "gigachat3.1",
    "<|role_sep|> <|message_sep|>": "gigachat3",
    "formatted as functools[{...}] <|end|>": "functools",
    "<|system|> <|tool|> <|/tool|> <|end|>": "phi",
    "<tool_calls>[ [BEGIN FINAL RESPONSE]": "apriel",
    "<|start_header_id|> <function=example>{}</function>": "functionary",
    "<|header_start|>user<|header_end|> <|eot|>": "llama4",
    "### Instruction: {{ x }}": "generic",
    "": "generic",
}


@pytest.mark.parametrize(("template", "name"), TEMPLATES.items())
def test_a_template_is_known_by_its_marks(template: str, name: str):
    assert detect_family(template).name == name
