"""Chat templates: what Hugging Face ones need works, what hostile ones try does not."""

from __future__ import annotations

import itertools
import json
import time
from contextlib import contextmanager
from datetime import datetime
from types import SimpleNamespace

import pytest

from plugway_local_engine import ChatTemplate, TemplateError, TemplateRefusal
from plugway_local_engine._prepare import Preparer

ASK = [{"role": "user", "content": "ask"}]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
STRICT = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
)
HERMES = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
    "{% if m.content is string %}{{ m.content }}{% elif m.content %}"
    "{% for part in m.content %}{{ part.text }}{% endfor %}{% endif %}"
    "{% for call in m.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>"
    "{% endfor %}<|im_end|>\n{% endfor %}{{ tools | tojson if tools }}"
)


def doubling(body: str, start: str = "'a' * 10", end: str = "") -> str:
    loop = "{% for i in range(60) %}" + body + "{% endfor %}"
    return "{% set ns = namespace(s=" + start + ") %}" + loop + end


HOSTILE = {
    "attributes of a helper": "{{ cycler.__init__.__globals__ }}",
    "globals of lipsum": "{{ lipsum.__globals__ }}",
    "class of a string": "{{ ''.__class__.__mro__ }}",
    "the attr filter": "{{ messages | attr('__class__') }}",
    "change of a message": "{{ messages[0].update({'role': 'x'}) }}",
    "a file": "{% include '/etc/passwd' %}",
    "an import": "{% import 'os' as os %}",
    "a power": "{% for i in range(10**9) %}x{% endfor %}",
    "a long range": "{% for i in range(1000000000) %}x{% endfor %}",
    "text by plus": doubling("{% set ns.s = ns.s + ns.s %}"),
    "text by tilde": doubling("{% set ns.s = ns.s ~ ns.s %}"),
    "text by blocks": doubling("{% set q %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = q %}"),
    "lists as JSON": doubling("{% set ns.s = [ns.s, ns.s] %}", "[]", "{{ ns.s | tojson }}"),
    "lists as text": doubling("{% set ns.s = [ns.s, ns.s] %}", "[]", "{{ ns.s }}"),
    "lists by a filter": doubling("{% set ns.s = [ns.s, ns.s] %}", "[]", "{{ ns.s | string }}"),
    "large numbers": doubling("{% set ns.s = ns.s * ns.s %}", "7", "{{ ns.s }}"),
    "repeated text": "{{ 'x' * 1000000000 }}",
    "a repeated list": "{{ [1] * 1000000000 }}",
    "padding": "{{ 'x'.ljust(1000000000) }}",
    "a wide format": "{{ '{:1000000000}'.format(1) }}",
    "a wide percent": "{{ '%1000000000d' % 1 }}",
    "a wide indent": "{{ 'x' | indent(1000000000, true) }}",
    "a wide JSON indent": "{{ [1] | tojson(indent=1000000000) }}",
    "replace": "{{ ('a' * 1000000).replace('', 'b' * 1000000) }}",
    "the replace filter": "{{ ('a' * 1000000) | replace('', 'b' * 1000000) }}",
    "join": "{{ ('a' * 1000000).join('b' * 1000000) }}",
    "the join filter": "{{ range(100000) | join('a' * 1000) }}",
    "endless recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "much output": "{% for i in range(100000) %}{{ 'x' * 1000 }}{% endfor %}",
    "deep source": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "long source": "x" * (50 << 20),
    "no template": "{% if %}",
    "no number": "{{ 1 / 0 }}",
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_template_is_refused_at_once(source):
    started = time.process_time()
    with pytest.raises(TemplateError):
        ChatTemplate(source).render(ASK)
    assert time.process_time() - started < 1.5


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(50) }}",
    ],
)
def test_a_template_that_runs_on_is_stopped_after_two_seconds(source):
    started = time.thread_time()
    with pytest.raises(TemplateError, match="longer than 2 s"):
        ChatTemplate(source).render(ASK)
    assert time.thread_time() - started < 2.5


def test_a_machine_that_is_busy_with_other_things_stops_no_template(monkeypatch):
    times = itertools.count(time.monotonic(), 3)
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    assert ChatTemplate("{% for n in range(9) %}x{% endfor %}").render(ASK) == "x" * 9


@pytest.mark.parametrize(
    ("words", "others", "says"), [(900, 0, "900 tokens > 499"), (400, 900, "")]
)
def test_a_request_whose_template_takes_too_long_is_too_long_by_its_messages_alone(
    words, others, says
):
    body = {"messages": [{"role": "user", "content": "word " * words}], "tools": ["word " * others]}
    job = SimpleNamespace(
        _vocabulary=SimpleNamespace(tokenize=lambda text: [0] * text.count("word")),
        _window=SimpleNamespace(tokens=500),
    )
    error = TemplateError("the chat template fails: SecurityError: it runs longer than 2 s")
    found = Preparer._too_long(job, SimpleNamespace(body=json.dumps(body).encode()), error)
    assert says in found
    assert bool(found) is bool(says)


def test_the_clock_starts_anew_for_every_render():
    template = ChatTemplate(CHATML)
    template._sandbox._deadline = 0
    assert "ask" in template.render(ASK)


def test_every_render_runs_inside_of_the_guard():
    entered: list[str] = []

    @contextmanager
    def guard():
        entered.append("in")
        yield
        entered.append("out")

    template = ChatTemplate(CHATML, guard=guard)
    entered.clear()
    template.render(ASK)
    assert entered == ["in", "out"]


def test_what_the_caller_hands_in_is_not_changed():
    messages = [{"role": "user", "content": "ask"}]
    source = "{{ messages.append({'role': 'x'}) }}{{ messages | length }}"
    template = ChatTemplate(source)
    assert template.render(messages) == template.render(messages)
    assert messages == ASK


def test_the_refusal_of_a_template_says_its_own_words():
    with pytest.raises(TemplateRefusal, match="roles must alternate"):
        ChatTemplate(STRICT).render([*ASK, *ASK])


def test_the_helpers_of_hugging_face_templates_work():
    source = (
        "{%- for x in [1, 2, 3] -%}{%- if x == 2 -%}{% continue %}{%- endif -%}{{ x }}{%- endfor -%}"
        "{% generation %}g{% endgeneration %}{{ {'b': '<é>', 'a': 1} | tojson }}"
        "{{ [1] | tojson(indent=2) }}{{ strftime_now('%d %b %Y') }}{{ bos_token }}{{ eos_token }}"
    )
    now = datetime(2024, 7, 26, 12, 0)
    text = ChatTemplate(source, bos="<s>", eos="</s>", now=now).render(ASK)
    assert text == '13g{"b": "<é>", "a": 1}[\n  1\n]26 Jul 2024<s></s>'


def test_blocks_are_trimmed_as_hugging_face_does():
    assert ChatTemplate("a\n  {% if true %}\nb\n  {% endif %}\nc").render(ASK) == "a\nb\nc"


def test_the_time_a_template_reads_stands_still():
    template = ChatTemplate("{{ strftime_now('%H:%M:%S.%f') }}")
    assert ":" in template.render(ASK)
    assert template.render(ASK) == template.render(ASK)


def test_a_template_that_needs_a_list_of_tools_gets_an_empty_one():
    assert ChatTemplate("{% for t in tools %}t{% endfor %}x").render(ASK) == "x"


def test_the_traits_of_a_plain_template():
    traits = ChatTemplate(CHATML).traits
    assert (traits.system, traits.system_inside, traits.repeated_roles) == (True, True, True)
    assert (traits.tools, traits.tool_calls, traits.list_content) == (False, False, False)


def test_the_traits_of_a_strict_template():
    traits = ChatTemplate(STRICT).traits
    assert (traits.system, traits.system_inside, traits.repeated_roles) == (False, False, False)


def test_the_traits_of_a_template_with_tools():
    traits = ChatTemplate(HERMES).traits
    assert traits.tools
    assert traits.tool_calls
    assert traits.tool_role
    assert traits.parallel_calls
    assert traits.text_beside_calls
    assert traits.list_content
    assert traits.reasoning == "reasoning_content"
    assert not traits.text_arguments


def test_the_traits_of_a_template_that_joins_arguments_as_text():
    source = (
        "{% for m in messages %}{{ m.role }}{{ m.content }}{% for c in m.tool_calls or [] %}"
        "{{ c.function.name + '\n' + c.function.arguments }}{% endfor %}{% endfor %}"
    )
    traits = ChatTemplate(source).traits
    assert traits.tool_calls
    assert traits.text_arguments


def test_the_traits_of_a_template_that_fails_always():
    traits = ChatTemplate("{{ raise_exception('no') }}").traits
    assert not any([traits.system, traits.tools, traits.tool_calls, traits.repeated_roles])


def test_a_long_conversation_renders_quickly():
    turns = [{"role": role, "content": "word " * 500} for role in ("user", "assistant") * 100]
    template = ChatTemplate(HERMES)
    started = time.process_time()
    assert len(template.render(turns)) > 500_000
    assert time.process_time() - started < 0.5
