"""Which tools are offered: measured with the lists of real servers.

`servers_tools.json` has the 63 tools of `@modelcontextprotocol/server-filesystem` 2026.8.31 and
`server-memory`, `@playwright/mcp` 0.0.83, `mcp-server-git`, `-fetch` and `-time`, as the servers
list them, with descriptions shortened to 400 characters.
"""

import json
from pathlib import Path

import pytest

from plugway_toolbelt._index import Index, words_of
from plugway_toolbelt._options import ToolbeltOptions, matches
from plugway_tools import ToolSpec

LIST = json.loads((Path(__file__).parent / "servers_tools.json").read_text())
INDEX = Index([ToolSpec(**one) for one in LIST])
WISHED = {
    "What is in this folder?": "files_list_directory",
    "Remember that I like green tea.": "memory_create_entities",
    "Download https://example.com/report and summarize it": "fetch",
    "Create a file notes.txt that says hello": "files_write_file",
    "What did I change in the repository since the last commit?": "git_diff_unstaged",
    "Commit my changes with the message 'fix typo'": "git_commit",
    "What time is it in Tokyo?": "time_get_current_time",
    "Open example.com in the browser": "browser_navigate",
    "Take a picture of the page": "browser_take_screenshot",
    "Find all files named *.py below src": "files_search_files",
    "Rename a.txt to b.txt": "files_move_file",
    "Replace the word foo by bar in readme.md": "files_edit_file",
}
OTHERS = {
    "What do you know about my sister Anna?": "memory_search_nodes",
    "Make a new folder called drafts": "files_create_directory",
    "How big are the files in this directory?": "files_list_directory_with_sizes",
    "Forget what I told you about my boss": "memory_delete_entities",
    "Which branches are there?": "git_branch",
    "Start a branch named feature-x": "git_create_branch",
    "Show me the last five commits": "git_log",
    "Fill in the login form on this site": "browser_fill_form",
    "Click the button 'Buy now'": "browser_click",
    "If it is 3 pm in Berlin, what is the time in New York?": "time_convert_time",
    "Is my working copy clean?": "git_status",
    "Get me the article at https://news.example/today": "fetch",
    "Go back to the page before": "browser_navigate_back",
    "When was report.pdf modified?": "files_get_file_info",
    "Unstage everything": "git_reset",
    "Show the picture cat.png": "files_read_media_file",
}


def offered(text, most=8):
    core = [spec.name for spec in INDEX.specs if matches(spec.name, ToolbeltOptions().core)]
    return list(dict.fromkeys([*core, *INDEX.find(text)]))[:most]


def test_the_list_is_that_of_the_servers():
    assert len(LIST) == 63


@pytest.mark.parametrize(
    ("questions", "least"), [(WISHED, 11), (OTHERS, 14)], ids=["wished", "other"]
)
def test_the_tool_that_is_needed_is_among_the_eight(questions, least):
    found = [name in offered(text) for text, name in questions.items()]
    assert sum(found) >= least, [t for t, hit in zip(questions, found, strict=True) if not hit]


def test_a_request_without_known_words_finds_nothing_and_harms_nothing():
    assert INDEX.find("") == []
    assert INDEX.find("the of and") == []
    assert INDEX.find('" OR name:* NEAR( )') == INDEX.find("near name")
    assert INDEX.find("\x00 \ud800 漢字") == []


def test_a_long_request_is_searched_for_some_of_its_words():
    assert len(words_of(" ".join(f"word{i}" for i in range(10_000)))) <= 60


def test_words_that_a_holder_adds_are_found():
    spec = ToolSpec("x_y", "Nothing", {}, "read", words=("barometer",))
    assert Index([spec]).find("read the barometer") == ["x_y"]
