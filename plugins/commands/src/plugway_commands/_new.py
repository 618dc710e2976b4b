"""`plugway new`: creates a plugin by copying and renaming the template."""

from __future__ import annotations

import keyword
import re
import shutil
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from plugway import PlugwayError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SKIPPED = ("__pycache__", ".*", "*.pyc", "*.egg-info", "dist", "build")
_MAX_NAME = 40

new_app = typer.Typer()


@new_app.command(epilog="Example: plugway new my-filter && cd plugway-my-filter")
def new(
    name: Annotated[str, typer.Argument(help="Name of the plugin, such as my-filter.")],
    directory: Annotated[
        Path | None, typer.Option(help="Folder to create; plugway-NAME by default.")
    ] = None,
) -> None:
    """Create a new plugin from a working, tested template."""
    target = new_plugin(name, directory)
    print(target)
    print(f"next:\n{_kit()}  pip install -e '{target}[test]'\n  pytest {target}", file=sys.stderr)


def _kit() -> str:
    """The line that installs the test kit, if it is missing: pip would look for it on PyPI, where
    nobody has registered its name yet, so that anybody could."""
    if find_spec("plugway_testing") is not None:
        return ""
    return "  pip install ./plugins/testing    # in the clone of Plugway; the tests need it\n"


def new_plugin(name: str, directory: Path | None = None) -> Path:
    """Copy the template to `directory`, `plugway-NAME` by default, and rename it."""
    _refuse_name(name)
    target = (directory or Path(f"plugway-{name}")).expanduser()
    if target.exists():
        raise PlugwayError(f"`{target}` already exists: give another name or `--directory`")
    shutil.copytree(template_folder(), target, ignore=shutil.ignore_patterns(*_SKIPPED))
    for path in sorted(target.rglob("*"), reverse=True):
        if path.is_file():
            _rewrite(path, name)
        path.rename(path.with_name(renamed(path.name, name)))
    return target


def template_folder() -> Path:
    """The template in the checkout that this package runs from, else the packaged copy."""
    package = Path(__file__).resolve().parent
    for folder in (package.parents[3] / "plugin-template", package / "_template"):
        if (folder / "pyproject.toml").is_file():
            return folder
    raise PlugwayError(
        "the plugin template is missing from this installation: reinstall `plugway-commands`"
    )


def renamed(text: str, name: str) -> str:
    """`text` of the template with all names of the template replaced by those of `name`."""
    module = name.replace("-", "_")
    title = "".join(part.capitalize() for part in name.split("-"))
    for pattern, replacement in (
        (r"plugway-template", f"plugway-{name}"),
        (r"plugway_template", f"plugway_{module}"),
        (r"\btest_template\b", f"test_{module}"),
        (r"\bTemplate(?=[A-Z]|\b)", title),
        (r"""(["'`])template\1""", rf"\g<1>{name}\g<1>"),
        (r"(?m)^template(?= *= *[\"']plugway_)", name),
        (r"\b(use|name): template\b", rf"\g<1>: {name}"),
        (r"\bplugins/template\b", f"plugins/{name}"),
    ):
        text = re.sub(pattern, replacement, text)
    return text


def _rewrite(path: Path, name: str) -> None:
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        return
    path.write_text(renamed(text, name), "utf-8")


def _refuse_name(name: str) -> None:
    if name.startswith("plugway-"):
        short = name.removeprefix("plugway-")
        raise PlugwayError(f"`{name}`: omit `plugway-`, it is added to the package name: `{short}`")
    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
        raise PlugwayError(
            f"{name!r} is not a valid plugin name: use lower-case letters, digits and single `-`, "
            f"starting with a letter, at most {_MAX_NAME} characters"
        )
    if keyword.iskeyword(name.capitalize()):
        raise PlugwayError(f"`{name}` is a Python keyword: choose another name")
    others = [point.dist for point in entry_points(group="plugway", name=name)]
    if others or name == "template":
        source = f" (`{others[0].name}`)" if others and others[0] else ""
        raise PlugwayError(f"a plugin `{name}` already exists{source}: choose another name")
