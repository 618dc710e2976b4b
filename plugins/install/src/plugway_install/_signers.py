"""Who signed the installed packages, so that an update by somebody else is noticed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from plugway import PlugwayError, as_object, write_file
from plugway_install._signatures import settings


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed a package."""

    name: str
    """The name in the file of allowed signers."""
    key: str
    """The fingerprint of the key."""

    def __str__(self) -> str:
        return f"{self.name} ({self.key})"


def _path() -> Path:
    return settings() / "package-signers.json"


def known_signers() -> Mapping[str, Signer]:
    """Who signed each installed package, by canonical name. Raises `PlugwayError`."""
    try:
        found: object = orjson.loads(_path().read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, orjson.JSONDecodeError) as error:
        raise PlugwayError(f"cannot read {_path()}: {error}. Correct or remove it") from None
    rows = {name: as_object(row) for name, row in as_object(found).items()}
    return {name: Signer(str(row.get("name")), str(row.get("key"))) for name, row in rows.items()}


def remember_signers(signers: Mapping[str, Signer], others: Iterable[str] = ()) -> None:
    """Record who signed packages; `others` are not signed, or removed."""
    before = dict(known_signers())
    after = {name: signer for name, signer in before.items() if name not in set(others)}
    after |= signers
    if after != before:
        rows = {name: {"name": after[name].name, "key": after[name].key} for name in sorted(after)}
        write_file(_path(), orjson.dumps(rows, option=orjson.OPT_INDENT_2))
