"""In a monospaced line, places of characters and ink say what a recognizer left out."""

import numpy as np
import pytest

from plugway_ocr._cells import Glyph, corrected, is_bar, pitch_of, restored
from plugway_ocr._rows import Box, bands, grouped, ink_of, is_level, pieces

PITCH = 10.0


def seen(text, kept=None):
    """The characters that a recognizer found in a line; with `kept`, only those columns."""
    line, spaced = [], False
    for column, character in enumerate(text):
        if character == " ":
            spaced = True
        elif kept is None or column in kept:
            jitter = (-1) ** column * 1.0
            line.append(Glyph(character, 5 + PITCH * column + jitter, spaced))
            spaced = False
    return line


def inked(text, height=20):
    """Ink like that of the text: an upright line for a bar, a block for others."""
    ink = np.zeros((height, round(PITCH * len(text)) + 20), bool)
    for column, character in enumerate(text):
        left = round(PITCH * column)
        if character == "|":
            ink[1:-1, left + 4 : left + 6] = True
        elif character != " ":
            ink[6:14, left + 1 : left + 9] = True
    return ink


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("plain words here", None),
        ("===== 1 failed, 2 passed =====", {0, 1, *range(6, 24), 25, 26}),
        ("-rw-r----- 1 root  12 a.log", {0, 1, 2, 3, 4, 5, *range(11, 27)}),
        ("tests/a.py ........F....", {*range(13), 19, 20}),
        ("24 | let a = 1", {0, 1, *range(5, 14)}),
        ("a       far  away", None),
        ("total = 5", None),
        ("a == b", None),
    ],
)
def test_runs_bars_and_spaces_are_restored(text, found):
    line = seen(text, found)
    length = len(text.rstrip())
    assert restored(line, PITCH, inked(text), 1, PITCH * length - 1) == text


def test_the_edge_of_a_single_sign_is_not_another_one():
    ink = inked("a = b")
    ink[8:10, 18:19] = True  # blurred into the cell before it
    assert restored(seen("a = b"), PITCH, ink, 1, 49) == "a = b"


@pytest.mark.parametrize(
    ("text", "place", "parts"),
    [
        ("KeyError: 'price'", 10, 1),
        ("KeyError: 'price'", 16, 1),
        ('say "hello" now', 4, 2),
        ("found `&str`", 11, 1),
    ],
)
def test_a_lost_quote_is_restored(text, place, parts):
    ink = inked(text)
    ink[:, place * 10 : place * 10 + 10] = False
    for left in (4,) if parts == 1 else (3, 6):
        ink[6:9, place * 10 + left : place * 10 + left + 2] = True
    line = seen(text, set(range(len(text))) - {place})
    assert restored(line, PITCH, ink, 1, PITCH * len(text) - 3) == text


@pytest.mark.parametrize("by", [-6, 6])
def test_a_sign_whose_place_is_not_exact_is_where_the_ink_is(by):
    line = seen("sum = 5")
    line[3] = Glyph("=", line[3].x + by, spaced=True)
    assert restored(line, PITCH, inked("sum = 5"), 1, 69) == "sum = 5"


def test_the_pitch_is_found_only_in_monospaced_lines():
    lines = [seen("some words in a line"), seen("and another one, longer")]
    assert pitch_of(lines) == pytest.approx(PITCH, rel=0.01)
    random = np.random.default_rng(1)
    loose = [[Glyph("a", float(x)) for x in np.cumsum(random.uniform(4, 16, 30))] for _ in range(8)]
    assert pitch_of(loose) is None
    assert pitch_of([]) is None
    assert pitch_of([seen("ab")]) is None


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("ERR0R", "ERROR"),
        ("28 0ct", "28 Oct"),
        ("GPU0", "GPU0"),
        ("0x7fff", "0x7fff"),
        ("0b", "0b"),
        ("A100", "A100"),
        ("v0 2026-10-01", "v0 2026-10-01"),
    ],
)
def test_a_zero_between_capitals_is_a_letter(text, right):
    assert corrected(text) == right


def test_a_bar_is_one_upright_line():
    assert is_bar(inked("|")[:, :10])
    assert not is_bar(inked("a")[:, :10])
    assert not is_bar(inked(" ")[:, :10])


def test_small_marks_belong_to_the_row_that_they_are_in():
    word, quote, below = Box(50, 10, 200, 34), Box(40, 10, 46, 19), Box(50, 40, 90, 64)
    assert grouped([quote, below, word]) == [[quote, word], [below]]


def test_a_row_is_cut_where_there_is_no_ink():
    gray = np.full((40, 400), 250, np.uint8)
    for left in (10, 22, 34, 200):
        gray[12:28, left : left + 8] = 20
    found = pieces(gray, [Box(20, 8, 44, 32)], (8, 32), 24)
    assert [(box.left, box.right) for box in found] == [(10, 42)]
    found = pieces(gray, [Box(20, 8, 44, 32), Box(195, 8, 210, 32)], (8, 32), 24)
    assert [(box.left, box.right) for box in found] == [(10, 42), (200, 208)]


def test_narrow_lines_are_divided_where_there_is_least_ink():
    gray = np.full((70, 400), 250, np.uint8)
    gray[10:29, 20:30] = gray[33:50, 20:200] = 20  # the letters of two lines
    rows = [[Box(18, 8, 34, 36)], [Box(18, 30, 204, 52)]]
    (_, end), (begin, _) = bands(gray, rows)
    assert end == begin
    assert 29 <= end <= 32
    for apart in ([[Box(18, 8, 34, 30)], rows[1]], [rows[0], [Box(60, 30, 204, 52)]]):
        assert bands(gray, apart) == [(row[0].top, row[0].bottom) for row in apart]


def test_a_photo_has_no_ink():
    noise = np.random.default_rng(1).integers(0, 255, (40, 300)).astype(np.uint8)
    assert ink_of(noise, 0, 40) is None
    box = Box(10, 5, 100, 30)
    assert pieces(noise, [box], (5, 30), 20) == [box]
    assert ink_of(np.full((40, 300), 7, np.uint8), 0, 40) is None


def test_lines_of_a_tilted_page_are_not_level():
    assert is_level([(0, 0), (300, 2), (300, 22), (0, 20)])
    assert is_level([(0, 0), (30, 3), (30, 23), (0, 20)])
    assert not is_level([(0, 0), (300, 30), (300, 50), (0, 20)])
