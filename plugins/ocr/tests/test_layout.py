"""Lines and their boxes become text in reading order, with columns and tables."""

from plugway_ocr._layout import Piece, Reading


def row(top, *cells, height=10, width=6):
    """Pieces `(left, text)` of one line."""
    return [Piece(text, left, top, left + width * len(text), top + height) for left, text in cells]


def test_a_monospaced_picture_keeps_its_columns_and_empty_lines():
    rows = [
        row(0, (20, "def f(x):")),
        row(12, (44, "return x"), (200, "# same")),
        row(36, (20, "f(1)")),
    ]
    assert Reading(rows, pitch=6).text == "def f(x):\n    return x                  # same\n\nf(1)"


def test_pieces_that_overlap_in_the_grid_stay_apart():
    rows = [row(0, (0, "long text here"), (80, "next"))]
    assert Reading(rows, pitch=6).text == "long text here next"


def test_a_table_becomes_markdown():
    rows = [
        row(0, (0, "Name"), (100, "Size"), (200, "Kind")),
        row(14, (0, "a.txt"), (100, "12"), (200, "a|b")),
        row(28, (0, "b.txt"), (100, "7"), (200, "file")),
    ]
    assert Reading(rows).text == (
        "| Name | Size | Kind |\n| --- | --- | --- |\n| a.txt | 12 | a\\|b |\n| b.txt | 7 | file |"
    )


def test_columns_of_numbers_may_end_at_the_same_place():
    rows = [row(14 * n, (0, f"item {n}"), (130 - 6 * n, "9" * n)) for n in (1, 2, 3)]
    assert Reading(rows).text.startswith("| item 1 | 9 |")


def test_text_in_two_columns_is_read_one_after_the_other_with_their_places():
    left, right = "words of the first column", "words of the second one, longer"
    rows = [row(14 * n, (0, f"{left} {n}"), (260, f"{right} {n}")) for n in range(5)]
    first, second = Reading(rows).text.split("\n\n")
    assert first.splitlines()[0] == "[at 0,0 to 162,66]"
    assert first.splitlines()[1:] == [f"{left} {n}" for n in range(5)]
    assert second.splitlines()[0] == "[at 260,0 to 458,66]"
    assert second.splitlines()[1:] == [f"{right} {n}" for n in range(5)]
    assert [piece.text for piece in Reading(rows).pieces][:5] == [f"{left} {n}" for n in range(5)]


def test_a_heading_above_a_table_is_a_block_of_its_own():
    rows = [row(0, (0, "Sizes of files"))]
    rows += [row(20 + 14 * n, (0, f"f{n}"), (100, f"{n}")) for n in range(3)]
    first, second = Reading(rows).text.split("\n\n")
    assert first == "[at 0,0 to 84,10]\nSizes of files"
    assert second.splitlines()[1] == "| f0 | 0 |"


def test_two_words_far_apart_are_no_table():
    rows = [row(0, (0, "File"), (300, "Help")), row(14, (0, "a line"))]
    assert Reading(rows).text == "File  Help\na line"


def test_nothing_is_empty():
    assert Reading(()).text == ""
    assert Reading(()).pieces == []
