"""Nothing disappears without a line on the receipt, and the page says what becomes of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.matrix import page
from tests.matrix.answered import CONTENT
from tests.matrix.asked import BASE
from tests.matrix.cells import FINE, is_named, missing, new_lines, word_of
from tests.matrix.servers import serving
from tests.matrix.trying import Matrix

PAGE = Path(__file__).parents[2] / "docs/compatibility.md"
WANTED = Counter({("top_k", "40"): 1})
NONE: Counter[tuple[str, str]] = Counter()


@pytest.fixture(scope="module")
def found() -> Matrix:
    return page.found()


def test_nothing_disappears_without_a_line(found: Matrix) -> None:
    lost = [
        f"{dialect}, {row}, {backend}: {cell.word}: {cell.why}"
        for dialect, sections in found.items()
        for rows in sections.values()
        for row, cells in rows.items()
        for backend, cell in cells.items()
        if cell.word not in FINE
    ]
    assert lost == []


def test_the_page_says_what_was_found(found: Matrix) -> None:
    _, _, rest = PAGE.read_text("utf-8").partition("docs.compatibility() ]]] -->\n")
    written, _, _ = rest.partition("<!-- [[[end]]] -->")
    assert written.strip() == page.text(found).strip(), "`make fix` writes the page"


def test_what_is_gone_without_a_line_is_lost() -> None:
    assert word_of(WANTED, WANTED, (), (), verbatim=False).word == "lost"
    other = ("drop metadata: nobody asks", "prefix: 3 of 9 tokens reused")
    assert word_of(WANTED, WANTED, (), other, verbatim=False).word == "lost"
    assert word_of(WANTED, WANTED, other[1:], (), verbatim=False).word == "lost"


def test_the_line_gives_the_word() -> None:
    for line, word in {
        "drop top_k: the API has none": "dropped with a line",
        "remove top_k: no such field": "dropped with a line",
        "set top_k: drop it: nobody samples": "dropped with a line",
        "emulate top_k: done here": "emulated",
        "translate top_k: as another": "translated",
    }.items():
        assert word_of(WANTED, WANTED, (line,), (), verbatim=False).word == word
        assert word_of(WANTED, WANTED, (), (line,), verbatim=False).word == word


def test_what_arrives_is_kept_or_translated() -> None:
    assert word_of(WANTED, NONE, (), (), verbatim=True).word == "kept"
    assert word_of(WANTED, NONE, (), (), verbatim=False).word == "translated"


def test_another_id_is_the_same_call_only_where_its_result_has_it_too() -> None:
    ours = Counter({("call", '["a", "Read", {}]'): 1, ("result", "a"): 1})
    theirs = Counter({("call", '["b", "Read", {}]'): 1, ("result", "b"): 1})
    stray = Counter({("call", '["b", "Read", {}]'): 1, ("result", "a"): 1})
    assert not missing(ours, theirs)
    assert missing(ours, stray)


@pytest.mark.anyio
async def test_what_the_vendor_would_refuse_is_seen() -> None:
    async with serving("openai") as running:
        running.answer = CONTENT["text"]["responses"]
        good = await running.ask("/v1/responses", BASE["responses"])
        odd = await running.ask("/v1/responses", {**BASE["responses"], "a_new_field": 1})
    assert good.refusals == []
    assert "a_new_field" in odd.refusals[0]


def test_an_error_must_name_the_feature() -> None:
    assert is_named("Unsupported parameter: 'n' is not supported", {"n": 2})
    assert not is_named("Not supported", {"n": 2})


def test_only_lines_that_a_plain_request_has_not_are_new() -> None:
    assert new_lines(["a", "b", "b"], ["a", "b"]) == ("b",)
