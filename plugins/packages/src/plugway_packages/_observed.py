"""What was seen of packages at run time that their permissions do not declare.

`permissions-watch` writes the file; commands read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import platformdirs

from plugway_wire.json import as_list, as_object, loaded


def observed_path() -> Path:
    """The file: `{"NAME": {"version": "1.0", "seen": ["connected to `a.example`"]}}`."""
    return platformdirs.user_state_path("plugway", appauthor=False) / "observed-permissions.json"


def observed(versions: Mapping[str, str]) -> Mapping[str, Sequence[str]]:
    """What was seen of these packages in these versions; empty if the file cannot be read."""
    try:
        found = loaded(observed_path().read_bytes())
    except (OSError, ValueError):
        return {}
    rows = {name: as_object(found.get(name)) for name in versions}
    return {
        name: [text for text in map(str, as_list(row.get("seen"))) if text.isprintable()]
        for name, row in rows.items()
        if row.get("version") == versions[name]
    }
