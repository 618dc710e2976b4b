"""What is made of a list of tools is made once for the same list, and never mixed up."""

from plugway_translation import remembered


def counted():
    made = []

    @remembered
    def names(tools, *facts):
        made.append(tools)
        return [tool["name"] for tool in tools], facts

    return names, made


def test_the_same_list_is_made_once_and_others_each():
    names, made = counted()
    first = [{"name": "a"}, {"name": "b"}]
    assert names(first, 1) == (["a", "b"], (1,))
    assert names([dict(tool) for tool in first], 1) is names(first, 1)
    assert names(first[:1], 1) == (["a"], (1,))
    assert names(first, 2) == (["a", "b"], (2,))
    assert len(made) == 3


def test_a_list_that_was_changed_since_is_made_again():
    names, _ = counted()
    tools = [{"name": "a"}]
    names(tools)
    tools[0]["name"] = "b"
    assert names(tools) == (["b"], ())
    assert names([{"name": "a"}]) == (["a"], ())


def test_only_so_many_lists_are_kept_and_none_that_is_very_long():
    names, made = counted()
    for number in range(40):
        names([{"name": str(number)}])
    names([{"name": "0"}])
    assert len(made) == 41
    long = [{"name": "x" * 300_000}]
    assert names(long) == names(long)
    assert len(made) == 43
