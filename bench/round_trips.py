"""Whether any argument changes between the writer of tool calls and the reader.

    python -m bench.round_trips                          1,000 replies in each family's format
    python -m bench.round_trips --count 100000 --families hermes,glm
    python -m bench.round_trips --raw                    calls as models write them

Values hold what is most likely to be taken for something else: all marks of a family, whole
example calls, calls cut in the middle, code, quotes. A reply of one to three calls is written, cut
at random places and read. `changed` must be 0; each reply that changed is printed with its number,
which `--first` takes to run it again. `as JSON`: replies with a value that cannot be written in the
family's own way, so that the writer gives the arguments as JSON.

`--raw`: nothing is escaped, as in a family whose template writes values between tags. `as JSON` is
then `refused`: replies that can be read in two ways, of which nothing is lost and which are asked
for again. Seconds are CPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

from plugway_toolcalls import FAMILIES, Family, own_format
from plugway_toolcalls.testing import (
    Maker,
    is_word_for_word,
    parsed,
    raw_call,
    writes_raw,
    written,
)

SHOWN = 5
"""Changed replies that are printed for each family."""

Found = Literal["same", "other", "changed"]


def written_and_read(family: Family, number: int) -> tuple[Found, str]:
    """What became of the calls of one reply (`other`: some were written as JSON), and its text."""
    maker = Maker(family, number)
    calls = maker.calls()
    text = written(family, calls)
    if parsed(family, maker.cut(text)) != [("call", *call) for call in calls]:
        return "changed", text
    if own_format(family).kind in {"object", "arguments"}:
        return "same", text
    is_json = any(json.dumps(given, ensure_ascii=False) in text for _, given in calls)
    return "other" if is_json else "same", text


def read_as_it_is(family: Family, number: int) -> tuple[Found, str]:
    """The same for a call in which nothing is escaped (`other`: it was refused)."""
    maker = Maker(family, number)
    given = maker.values_as_they_are()
    text = raw_call(family, given)
    found = parsed(family, maker.cut(text))
    if found == [("call", "Write", given)]:
        return "same", text
    return "other" if is_word_for_word(family, text, found) else "changed", text


def tried(
    family: Family, numbers: range, trip: Callable[[Family, int], tuple[Found, str]]
) -> Counter[str]:
    """How many replies ended how; the first ones that changed are printed."""
    counts = Counter[str]()
    for number in numbers:
        found, text = trip(family, number)
        counts[found] += 1
        if found == "changed" and counts["changed"] <= SHOWN:
            print(f"{family.name} {number}: {text!r}", flush=True)
    return counts


def run(families: Sequence[Family], numbers: range, *, raw: bool) -> int:
    """Try all families, print a line for each, and return how many replies changed."""
    other = "refused" if raw else "as JSON"
    print(f"{'family':16}{'tried':>10}{'changed':>10}{other:>10}{'seconds':>10}")
    changed = 0
    for family in families:
        began = time.process_time()
        counts = tried(family, numbers, read_as_it_is if raw else written_and_read)
        seconds = time.process_time() - began
        cells = f"{len(numbers):10}{counts['changed']:10}{counts['other']:10}{seconds:10.1f}"
        print(f"{family.name:16}{cells}", flush=True)
        changed += counts["changed"]
    return changed


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=1000, help="replies for each family")
    parser.add_argument("--first", type=int, default=0, help="number of the first reply")
    parser.add_argument("--families", default="", help="names of families, with commas")
    parser.add_argument("--raw", action="store_true", help="calls in which nothing is escaped")
    options = parser.parse_args()
    names = [name for name in options.families.split(",") if name]
    unknown = set(names) - {family.name for family in FAMILIES}
    if unknown:
        parser.error(f"unknown family: {', '.join(sorted(unknown))}")
    chosen = [family for family in FAMILIES if not names or family.name in names]
    if options.raw:
        chosen = [family for family in chosen if writes_raw(family)]
    numbers = range(options.first, options.first + options.count)
    sys.exit(1 if run(chosen, numbers, raw=options.raw) else 0)


if __name__ == "__main__":
    main()
