"""Screenshots of terminals and editors, drawn with Pillow and a real font: the text is known.

Ten texts in three looks each: light, dark, and at half size (dark and light in turn).
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

FONTS = (
    "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf",
    "/usr/share/fonts/TTF/DejaVuSansMono.ttf",
    "/usr/share/fonts/dejavu-sans-mono-fonts/DejaVuSansMono.ttf",
    "/Library/Fonts/DejaVuSansMono.ttf",
)
SIZE = 20
"""Pixels of the font: 10 points on a common screen with a scale of 150 %; 10 pixels at half size."""

TRACEBACK = """\
$ python -m shop.orders --limit 20
Traceback (most recent call last):
  File "/srv/shop/orders.py", line 118, in <module>
    main(parse_args())
  File "/srv/shop/orders.py", line 97, in main
    total = sum(order["price"] * order["count"] for order in orders)
  File "/srv/shop/orders.py", line 97, in <genexpr>
    total = sum(order["price"] * order["count"] for order in orders)
KeyError: 'price'
$ echo $?
1"""
PYTEST = """\
============================= test session starts ==============================
collected 48 items

tests/test_cart.py ..............F...                                    [ 37%]
tests/test_users.py ..............................                       [100%]

=================================== FAILURES ===================================
___________________________ test_a_discount_is_applied _________________________
    def test_a_discount_is_applied():
        cart = Cart([Item("tea", 400)], discount=0.25)
>       assert cart.total == 300
E       assert 400 == 300
E        +  where 400 = Cart(items=1, discount=0.25).total
tests/test_cart.py:61: AssertionError
======================== 1 failed, 47 passed in 2.31s =========================="""
LISTING = """\
$ ls -l /var/log
total 2316
-rw-r----- 1 syslog adm     148201 Nov 12 09:14 auth.log
-rw-r--r-- 1 root   root     61440 Nov 10 17:02 dpkg.log
drwxr-xr-x 2 root   root      4096 Oct 28 06:25 nginx
-rw-r----- 1 syslog adm    1992844 Nov 12 09:15 syslog
drwx------ 2 root   root      4096 Sep 30 11:48 private
$ df -h /
Filesystem      Size  Used Avail Use% Mounted on
/dev/nvme0n1p2  468G  391G   53G  89% /"""
DIFF = """\
$ git diff --stat HEAD~2
 src/parser.c   | 42 ++++++++++++++++++++++++++----------------
 src/parser.h   |  7 ++++---
 tests/main.c   | 19 +++++++++++++++++++
 3 files changed, 49 insertions(+), 19 deletions(-)
$ git log --oneline -5
9f3c2ab Reject nested comments with the line of their start
41d07e8 Keep the buffer when the input ends early
c0ffee1 Merge branch 'lexer' into main
7a91b60 Fix an off-by-one in peek_token()
e4d5c3f Add a fuzz target for numbers"""
EDITOR = """\
  1  import asyncio
  2  from dataclasses import dataclass
  3
  4
  5  @dataclass(frozen=True)
  6  class Point:
  7      x: float = 0.0
  8      y: float = 0.0
  9
 10      def __add__(self, other: "Point") -> "Point":
 11          return Point(self.x + other.x, self.y + other.y)
 12
 13
 14  async def main() -> None:
 15      points = [Point(i, i ** 2) for i in range(10)]
 16      await asyncio.gather(*(show(p) for p in points))"""
CONFIG = """\
{
  "name": "web-frontend",
  "version": "4.12.0",
  "private": true,
  "scripts": {
    "build": "vite build --mode production",
    "test": "vitest run --coverage"
  },
  "dependencies": {
    "react": "^19.1.0",
    "zod": "~4.0.5"
  }
}"""
NPM = """\
npm error code ERESOLVE
npm error ERESOLVE unable to resolve dependency tree
npm error
npm error While resolving: web-frontend@4.12.0
npm error Found: react@19.1.0
npm error node_modules/react
npm error   react@"^19.1.0" from the root project
npm error
npm error Could not resolve dependency:
npm error peer react@"^18.2.0" from old-widgets@2.7.1
npm error Fix the upstream dependency conflict, or retry
npm error this command with --force or --legacy-peer-deps"""
LOG = """\
2026-11-12T09:14:07.120Z INFO  gateway listening on 127.0.0.1:8484
2026-11-12T09:14:09.433Z INFO  request id=req_01 model=small status=200 ms=812
2026-11-12T09:14:11.902Z WARN  upstream is slow: no byte for 10 s
2026-11-12T09:14:31.077Z ERROR connection refused: 10.20.30.40:5432
2026-11-12T09:14:31.078Z ERROR retry 1 of 3 in 500 ms
2026-11-12T09:14:32.581Z ERROR retry 2 of 3 in 1000 ms
2026-11-12T09:14:34.590Z FATAL database unavailable, giving up"""
CODE = """\
static int read_header(FILE *in, struct header *out)
{
    unsigned char raw[16];
    if (fread(raw, 1, sizeof raw, in) != sizeof raw)
        return -EIO;
    if (memcmp(raw, "PK\\x03\\x04", 4) != 0)
        return -EINVAL;
    out->flags = raw[6] | (raw[7] << 8);
    out->size = get_u32(raw + 8) & 0x7fffffff;
    for (int i = 0; i < 4; i++)
        out->name[i] = raw[12 + i] % 128;
    return out->size > MAX_SIZE ? -EFBIG : 0;
}"""
GERMAN = """\
$ cargo build --release
   Compiling größen v0.3.1 (/home/jörg/größen)
error[E0308]: mismatched types
  --> src/main.rs:24:18
   |
24 |     let länge: u32 = "zwölf";
   |                ---   ^^^^^^^ expected `u32`, found `&str`
   |
warning: unused variable: `übrig`
Für Hilfe: rustc --explain E0308"""
TEXTS = {
    "traceback": TRACEBACK,
    "pytest": PYTEST,
    "listing": LISTING,
    "diff": DIFF,
    "editor": EDITOR,
    "config": CONFIG,
    "npm": NPM,
    "log": LOG,
    "code": CODE,
    "german": GERMAN,
}

_LIGHT = {"ground": "#ffffff", "text": "#24292e", "word": "#d73a49", "string": "#032f62"}
_DARK = {"ground": "#1e1e1e", "text": "#d4d4d4", "word": "#c586c0", "string": "#ce9178"}
_COLOURED = re.compile(
    r"(?P<word>\b(?:import|from|class|def|async|await|return|if|for|static|int|struct|error|ERROR"
    r"|FATAL|WARN|warning|let|assert)\b)|(?P<string>\"[^\"\n]*\"|'[^'\n]*')"
)


@dataclass(frozen=True)
class Screen:
    name: str
    text: str
    png: bytes


@cache
def font(size):
    from PIL import ImageFont

    for place in FONTS:
        if Path(place).is_file():
            return ImageFont.truetype(place, size)
    pytest.skip("the font DejaVu Sans Mono is not installed (Debian: fonts-dejavu-core)")


def drawn(text, look="light", size=SIZE, scale=1.0, spacing=1.3):
    """A PNG of `text`, with coloured words, a margin and a title bar."""
    from PIL import Image, ImageDraw

    colours = _LIGHT if look == "light" else _DARK
    face = font(size)
    lines = text.split("\n")
    step = round(size * spacing)
    advance = face.getlength("m")
    width = round(advance * max(map(len, lines))) + 4 * size
    height = step * len(lines) + 4 * size
    picture = Image.new("RGB", (width, height), colours["ground"])
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, width, round(1.2 * size)), fill="#888888")
    for number, line in enumerate(lines):
        y = 2 * size + number * step
        draw.text((2 * size, y), line, colours["text"], font=face)
        for found in _COLOURED.finditer(line):
            x = 2 * size + found.start() * advance
            draw.rectangle((x, y, x + advance * len(found[0]), y + step - 1), colours["ground"])
            draw.text((x, y), found[0], colours[found.lastgroup], font=face)
    if scale != 1.0:
        smaller = (round(width * scale), round(height * scale))
        picture = picture.resize(smaller, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def screens():
    """Thirty screenshots."""
    for number, (name, text) in enumerate(TEXTS.items()):
        yield Screen(f"{name}, light", text, drawn(text, "light"))
        yield Screen(f"{name}, dark", text, drawn(text, "dark"))
        look = "dark" if number % 2 == 0 else "light"
        yield Screen(f"{name}, half size, {look}", text, drawn(text, look, scale=0.5))


def plain(text):
    """The text with single spaces, and without empty lines."""
    return "\n".join(" ".join(line.split()) for line in text.split("\n") if line.strip())


def errors(wanted, found):
    """Characters to insert, remove or replace (Levenshtein)."""
    row = list(range(len(found) + 1))
    for i, a in enumerate(wanted, 1):
        above, row[0] = row[0], i
        for j, b in enumerate(found, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (a != b))
    return row[-1]
