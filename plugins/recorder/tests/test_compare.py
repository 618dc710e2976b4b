"""When two calls are the same. No model is asked."""

from types import SimpleNamespace

import pytest
from recording import TOOLS

from plugway import ModelInfo
from plugway_prices import Price
from plugway_prices._price import Rates
from plugway_recorder._compare import judge
from plugway_recorder._plan import Pricing, facts_of
from plugway_recorder._values import compare, folder_of, normal_command, normal_path

HERE = "/home/me/project"


@pytest.mark.parametrize(
    ("name", "one", "other", "same"),
    [
        ("file_path", f"{HERE}/a.py", "./a.py", "same"),
        ("file_path", f"{HERE}/b/../a.py", f"{HERE}//a.py", "same"),
        ("file_path", f"{HERE}/a.py", "/home/you/project/a.py", "different"),
        ("path", "src/", "src", "same"),
        ("notebook_path", "a.ipynb", "b.ipynb", "different"),
        ("file_path", "C:\\a\\b.py", "C:/a/b.py", "same"),
        ("command", "ls  -la", "ls -la", "same"),
        ("command", f"cd {HERE} && pytest -q", "pytest -q", "same"),
        ("command", "cat 'a.txt'", 'cat "a.txt"', "same"),
        ("command", f"cat {HERE}/a.txt", "cat ./a.txt", "same"),
        ("command", "rm -rf a", "rm -r a", "different"),
        ("command", "ls | wc -l", "ls|wc -l", "same"),
        ("command", "echo 'a b'", "echo a b", "different"),
        ("command", "echo 'not closed", "echo  'not closed", "same"),
        ("command", ["ls", "-l"], ["ls", "-l "], "same"),
        (
            "command",
            "git commit -m 'one of many words that differ'",
            "git commit -m 'two'",
            "different",
        ),
        ("url", "https://example.org/", "https://example.org", "same"),
        ("pattern", "foo.*bar", "foo.*baz", "different"),
        ("description", "Lists files", "Show the files", "free"),
        ("content", "a\nb", "c", "free"),
        ("query", "how to sort a list in python", "python sort list how to do it", "free"),
        ("query", "python sort", "python sort list", "different"),
        ("timeout", 1000, 2000, "free"),
        ("limit", 10, 20, "different"),
        ("limit", 10, 10.0, "same"),
        ("all", True, 1, "different"),
        ("options", {"path": "./a"}, {"path": "a"}, "same"),
        ("items", [{"path": "a"}], [{"path": "a"}, {"path": "b"}], "different"),
    ],
)
def test_values_are_compared_by_what_they_mean(name, one, other, same):
    assert compare(name, one, other, HERE) == same
    assert compare(name, other, one, HERE) == same


def test_a_path_is_not_completed_where_the_folder_is_unknown():
    assert normal_path("a.py", "") != normal_path(f"{HERE}/a.py", "")


@pytest.mark.parametrize(
    "text",
    [
        f"Primary working directory: {HERE}\nIs a git repository: false",
        f"<env>\nWorking directory: {HERE}\n</env>",
        f"<cwd>{HERE}</cwd>",
    ],
)
def test_the_working_folder_is_found_in_the_prompt(text):
    assert folder_of({"system": text}) == HERE
    assert folder_of({"system": [{"type": "text", "text": text}]}) == HERE
    assert folder_of({"messages": [{"role": "user", "content": text}]}) == HERE


def test_a_long_or_odd_command_is_compared_by_its_words():
    assert normal_command("cat <<EOF\na  b\nEOF", HERE) == ("cat", "<<EOF", "a", "b", "EOF")


def turn(*calls, stop="tool_use", tools=TOOLS):
    return {
        "body": {"tools": tools, "system": f"Working directory: {HERE}"},
        "calls": [{"name": name, "input": given} for name, given in calls],
        "stop_reason": stop,
    }


def message(*calls, stop="tool_use", text=""):
    blocks = [
        {"type": "tool_use", "id": "t", "name": name, "input": given} for name, given in calls
    ]
    return {"content": [{"type": "text", "text": text}, *blocks], "stop_reason": stop}


def test_parallel_calls_may_come_in_any_order():
    calls = [
        ("Read", {"file_path": "/a"}),
        ("Read", {"file_path": "/b"}),
        ("Bash", {"command": "ls"}),
    ]
    assert judge(turn(*calls), message(*reversed(calls))).difference is None
    other = [calls[0], calls[0], calls[2]]
    found = judge(turn(*calls), message(*other)).difference
    assert (found.kind, found.text) == ("arguments", "`Read`: `file_path` is '/a' instead of '/b'")
    assert judge(turn(*calls), message(*calls[:2])).difference.kind == "tool"


def test_words_are_never_judged():
    a, b = (message(stop="end_turn", text=text) for text in ("Yes.", "No, never."))
    assert judge(turn(stop="end_turn"), a) == judge(turn(stop="end_turn"), b)
    assert judge(turn(stop="end_turn"), a).difference is None


def test_a_default_that_is_spelled_out_is_the_same():
    schema = {"type": "object", "properties": {"mode": {"type": "string", "default": "fast"}}}
    tools = [{"name": "Run", "input_schema": schema}]
    recorded = turn(("Run", {}), tools=tools)
    for given in ({"mode": "fast"}, {"mode": None}, {"all": False}, {"names": []}):
        tolerant = turn(
            ("Run", {}), tools=[{"name": "Run", "input_schema": {**schema, "properties": {}}}]
        )
        if given == {"mode": "fast"}:
            tolerant = recorded
        assert judge(tolerant, message(("Run", given))).difference is None, given
    assert judge(recorded, message(("Run", {"mode": "slow"}))).difference.kind == "arguments"


def test_what_was_not_compared_is_named():
    before = ("Bash", {"command": "ls", "description": "Lists"})
    after = ("Bash", {"command": "ls", "description": "Show all"})
    assert judge(turn(before), message(after)).free == ("Bash.description",)


def test_the_end_of_the_window_is_not_the_end_of_a_turn():
    found = judge(turn(stop="end_turn"), message(stop="model_context_window_exceeded")).difference
    assert found.kind == "window"


@pytest.mark.parametrize("given", [None, "text", ["a"], {"file_path": 3}])
def test_arguments_of_any_shape_are_judged(given):
    found = judge(turn(("Read", {"file_path": "/a"})), message(("Read", given))).difference
    assert found.kind == "invalid"


class Priced:
    """Prices that know one model."""

    def price_of(self, backend, model, at, choices=frozenset()):
        known = model == "m" and "speed: fast" not in choices
        return Price(Rates(1_000_000, 10_000_000, 0, 2_000_000, 4_000_000)) if known else None


def recorded(tokens, **fields):
    usage = {
        "input_tokens": tokens,
        "output_tokens": 10,
        "cache_read_tokens": 0,
        "cache_creation_tokens": 0,
    }
    body = {"messages": [{"role": "user", "content": "word " * 400}], "max_tokens": 100, **fields}
    return {"body": body, "usage": usage}


def plan_of(*turns, model="m", window=0):
    backend = SimpleNamespace(name="cloud", zone="vendor")
    info = ModelInfo("anthropic/cloud/m", context_tokens=window)
    return Pricing(Priced(), backend, model).planned(
        [facts_of(n, t) for n, t in enumerate(turns, 1)], info
    )


def test_a_plan_says_what_it_costs_and_at_most_and_from_where_it_does_not_fit():
    plan = plan_of(recorded(1000), recorded(3000), recorded(5000), window=2000)
    assert (plan["prompt_tokens"], plan["output_tokens"]) == (9000, 30)
    assert plan["dollars"] == 9000 * 1000 + 30 * 10_000
    assert plan["most_dollars"] == 9000 * 2000 + 300 * 10_000
    assert plan["first_too_long"] == 2
    assert plan_of(recorded(1000), window=2000)["first_too_long"] is None


def test_what_a_turn_writes_to_a_cache_for_an_hour_costs_more():
    mark = {"type": "ephemeral", "ttl": "1h"}
    turn = recorded(1000, system=[{"type": "text", "text": "Help.", "cache_control": mark}])
    assert plan_of(turn)["most_dollars"] == 1000 * 4000 + 100 * 10_000
    pricing = Pricing(Priced(), SimpleNamespace(name="cloud", zone="vendor"), "m")
    usage = {"cache_creation_tokens": 1000, "output_tokens": 10}
    assert pricing.costs([facts_of(1, turn)], {"1": usage}) == {"1": 1000 * 4000 + 10 * 10_000}


def test_an_unknown_price_of_one_turn_makes_the_whole_cost_unknown():
    for plan in (plan_of(recorded(1), recorded(1, speed="fast")), plan_of(recorded(1), model="x")):
        assert plan["dollars"] is plan["most_dollars"] is None
        assert "no price is known for `cloud/" in plan["missing_price"]


def test_a_prompt_that_nobody_counted_is_estimated():
    assert 400 < plan_of(recorded(0))["prompt_tokens"] < 700
