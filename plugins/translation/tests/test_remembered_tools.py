"""What is made of a request's tools is made once, however the request holds them."""

from plugway_translation import remembered


def test_the_same_entries_are_recognized_and_others_are_told_apart():
    made = []

    @remembered
    def names(tools, fact):
        made.append(fact)
        return [tool["name"] for tool in tools], fact

    tools = [{"name": "a", "const": True}, {"name": "b"}]
    first = names(tools, 1)
    assert names(list(tools), 1) is first
    assert names([dict(tool) for tool in tools], 1) is first
    assert made == [1]
    assert names(tools, 2) == (["a", "b"], 2)
    assert names(tools[:1], 1) == (["a"], 1)
    assert names([], 1) == ([], 1)
    assert made == [1, 2, 1, 1]
    one = [{"name": "a", "const": 1}, {"name": "b"}]
    assert names(one, 1) is not first  # equal in Python, but not in JSON
