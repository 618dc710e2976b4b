"""Reads a unit as systemd does: `systemd.syntax(7)`, and `extract_first_word` in its source."""

from __future__ import annotations

SPECIFIERS = {"%": "%", "h": "/home/of/somebody", "i": "instance", "t": "/run/user/1"}


def options(text):
    """The options of a unit, in order: section, name, value."""
    section = ""
    for line in text.splitlines():
        assert not line.endswith("\\"), "the next line would belong to this one"
        if not line.strip() or line.startswith(("#", ";")):
            continue
        if line.startswith("["):
            section = line.strip("[]")
            continue
        name, equals, value = line.partition("=")
        assert equals, line
        yield section, name.strip(), value.strip()


def words(value):
    """The words of a list, unquoted, with escapes and specifiers replaced."""
    found, word, quote, begun = [], "", "", False
    characters = iter(value)
    for character in characters:
        if character == "\\":
            escaped = next(characters)
            assert escaped in "\\\"'", f"systemd would read \\{escaped} as something else"
            word, begun = word + escaped, True
        elif quote:
            if character == quote:
                quote = ""
            else:
                word += character
        elif character in "\"'":
            quote, begun = character, True
        elif character.isspace() and character in " \t\n\r":
            if begun or word:
                found.append(word)
            word, begun = "", False
        else:
            word += character
    assert not quote, "a quote is not closed"
    if begun or word:
        found.append(word)
    return [specified(each) for each in found]


def specified(text):
    """The text with its specifiers replaced; an unknown one makes systemd ignore the line."""
    found, characters = "", iter(text)
    for character in characters:
        found += SPECIFIERS[next(characters)] if character == "%" else character
    return found
