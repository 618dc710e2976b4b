"""`plugway models recommend`: which model fits this machine, or one that the user describes."""

from __future__ import annotations

import json
import re
from typing import Annotated, Final

import typer
from rich.console import Console

from plugway_local_models._advice import CONTEXTS, Advice, Choice, Purpose, advise
from plugway_local_models._here import installed_models
from plugway_local_models._machine import Machine, described_machine, read_machine
from plugway_local_models.measured import measured_speeds
from plugway_local_models.sizing import GIB, MIB, gib, short_count

EPILOG: Final = (
    "Examples: plugway models recommend; plugway models recommend --memory 48GiB --chip "
    "'Apple M4 Pro'; plugway models recommend --memory 32GiB --gpu 24GiB --json. Exit codes: 0 a "
    "model is recommended, 1 nothing useful fits, 2 usage."
)
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(?:(g|m)(?:i?b)?)?", re.IGNORECASE)
_SHORT_CHIP: Final = re.compile(r"M\d", re.IGNORECASE)
_TITLES: Final[dict[Purpose, str]] = {"claude-code": "Claude Code", "chat": "chats"}
_MOST_BYTES: Final = 1 << 50
_MOST_OTHERS: Final = 8
# Names of models, cards and chips are text of others, not markup.
_out = Console(soft_wrap=True, markup=False, emoji=False, highlight=False)


def _size(text: str) -> int:
    """Bytes of `48GiB`, `48GB` or `48`; memory is sold in units of 1,024, whatever it is called."""
    match = _SIZE.fullmatch(text.strip())
    size = float(match[1]) * (MIB if (match[2] or "g").lower() == "m" else GIB) if match else -1
    if not 0 <= size < _MOST_BYTES:
        raise typer.BadParameter(f"{text!r} is not a size such as 48GiB")
    return int(size)


Memory = Annotated[
    int | None,
    typer.Option(
        "--memory", parser=_size, metavar="SIZE", help="Memory of another machine, such as 48GiB."
    ),
]
Gpu = Annotated[
    int | None,
    typer.Option(
        "--gpu", parser=_size, metavar="SIZE", help="Memory of its graphics card, with `--memory`."
    ),
]
Chip = Annotated[
    str,
    typer.Option("--chip", help="Its chip, such as 'Apple M4 Pro', with `--memory`."),
]
Context = Annotated[
    int | None,
    typer.Option("--context", min=256, max=4_194_304, help="Tokens of context that must fit."),
]
For = Annotated[Purpose, typer.Option("--for", help="What the model is for.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON; sizes in bytes.")]


def recommend_command(
    memory: Memory = None,
    gpu: Gpu = None,
    chip: Chip = "",
    context: Context = None,
    purpose: For = "claude-code",
    as_json: Json = False,
) -> None:
    """Recommend a local model for this machine, with the sum that shows why it fits.

    Needs no gateway and no network; asks Ollama and LM Studio on this machine what they have.
    """
    machine = _machine(memory, gpu, chip)
    speeds = measured_speeds(machine.total, machine.cores) if memory is None else []
    found = advise(machine, purpose, context=context, installed=installed_models(), measured=speeds)
    if as_json:
        document = found.as_json() | {"measured_here": [speed.as_json() for speed in speeds]}
        text = json.dumps(document, indent=2, ensure_ascii=False)
        typer.echo(text.encode("utf-8", "replace").decode())
    else:
        _show(found, context)
        if speeds:
            _say("", "By `plugway bench`:", *(f"  {speed.sentence()}" for speed in speeds))
    raise typer.Exit(0 if found.best else 1)


def _machine(memory: int | None, gpu: int | None, chip: str) -> Machine:
    if memory is None:
        if gpu is not None or chip:
            raise typer.BadParameter("describe the machine with `--memory`, too")
        try:
            return read_machine()
        except OSError as error:
            raise typer.BadParameter(f"{error}. Describe it with `--memory`") from None
    if _SHORT_CHIP.match(chip):
        chip = f"Apple {chip[0].upper()}{chip[1:]}"
    return described_machine(memory, card=gpu or 0, chip=chip)


def _show(found: Advice, context: int | None) -> None:
    _say(found.machine.sentence())
    least = short_count(context or CONTEXTS[found.purpose].least)
    what = f"{_TITLES[found.purpose]} ({'' if context else 'at least '}{least} of context)"
    if found.best is None:
        _show_nothing(found, what)
        return
    _say(f"For {what}, in an order of our judgement,", f"with models as of {found.checked}:", "")
    _show_choice(found.best)
    others = [choice for choice in found.choices if choice is not found.best]
    if others:
        _say("", "Also possible:")
    for choice in others[:_MOST_OTHERS]:
        needs = f"{gib(choice.need.total)} of {gib(choice.place.free)} GiB"
        tags = "".join(f"; {tag}" for tag in (*_here(choice), *choice.tags))
        _say(f"  {_form(choice)}, {short_count(choice.context)}: {needs}{tags}")


def _show_nothing(found: Advice, what: str) -> None:
    _say("", f"Nothing that is useful for {what} fits this machine.")
    if smallest := found.smallest:
        _say(f"The smallest is {_form(smallest)}: {smallest.sentence()}.")
    if runs := found.runs:
        _say("", "What runs here, for titles and small chats:", "")
        _show_choice(runs)
    _say(
        "",
        "A cloud model needs none of this memory: `plugway keys set anthropic` stores a key, and "
        "docs/recipes/own-key.md has the configuration.",
    )


def _show_choice(choice: Choice) -> None:
    _say(f"{_form(choice)}, {choice.context:,} tokens, with `{choice.backend}`")
    for line in (choice.sentence(), *choice.notes, *_here(choice), choice.command):
        if line:
            _say(f"  {line}")
    if choice.setting:
        _say(f"  and for the context: {choice.setting}")


def _here(choice: Choice) -> list[str]:
    names = ", ".join(f"{item.name} ({item.owner})" for item in choice.here)
    return [f"here already: {names}"] if names else []


def _form(choice: Choice) -> str:
    return f"{choice.model.title}, {choice.files.quant}"


def _say(*lines: str) -> None:
    for line in lines:
        _out.print(_printable(line))


def _printable(text: str) -> str:
    """Without characters that move the cursor, or that no terminal can show."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
