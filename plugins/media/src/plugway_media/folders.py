"""For tools: files in the folders that a configuration allows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def allowed_folders(own: Sequence[Path], roots: Sequence[Path]) -> list[Path]:
    """The configured folders, or what of them the roots of a call leave."""
    mine = [folder.resolve() for folder in own]
    if not roots:
        return mine
    asked = [root.resolve() for root in roots]
    inside = [root for root in asked if any(root.is_relative_to(folder) for folder in mine)]
    return inside + [f for f in mine if any(f.is_relative_to(root) for root in asked)]


def path_inside(name: str, folders: Sequence[Path]) -> Path:
    """The path that a name means in one of the folders, after all links. Raises `OSError`."""
    try:
        path = Path(name).expanduser()
        if not path.is_absolute():
            path = next(
                (f / path for f in folders if (f / path).exists()), (folders or [path])[0] / path
            )
        path = path.resolve()
    except (RuntimeError, ValueError):  # an unknown `~user`, links in a circle, a NUL
        raise OSError(0, "the path is not valid") from None
    if not any(path.is_relative_to(folder) for folder in folders):
        raise OSError(0, f"the path is {_outside(folders)}")
    return path


def file_inside(name: str, folders: Sequence[Path]) -> Path:
    """The path of a file that is in one of the folders. Raises `OSError`."""
    path = path_inside(name, folders)
    if path.is_file():
        return path
    if Path(name).expanduser().is_absolute():
        raise OSError(0, "there is no such file")
    raise OSError(0, f"there is no such file: it is {_outside(folders)}")


def read_inside(name: str, folders: Sequence[Path], max_bytes: int) -> bytes:
    """The bytes of a file in one of the folders, and one more if it is larger. Raises `OSError`."""
    with file_inside(name, folders).open("rb") as file:
        return file.read(max_bytes + 1)


def _outside(folders: Sequence[Path]) -> str:
    allowed = ", ".join(map(str, folders)) or "none"
    return f"not in a folder that may be used: {allowed}"
