"""Approval of plugins, as a configuration wants it.

Disabled until the first `plugway plugins --approve`, unless the configuration has
`server.plugins: signed`. From then on what is not approved, or has changed since, is not loaded.
`plugway_packages` compares the files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from plugway.config.document import Document
from plugway.kept import remove_drafts, write_file
from plugway_packages import Approvals, approvals_path, approved, fingerprint
from plugway_wire.json import as_object


def approve(names: Iterable[str], path: Path | None = None) -> dict[str, str]:
    """Approve the current files of these distributions; returns all approvals.

    Raises `ApprovalsError` if the file of approvals is invalid.
    """
    path = path or approvals_path()
    found = {**(approved(path) or {}), **{name: fingerprint(name) for name in names}}
    write_file(path, f"{json.dumps(found, indent=1, sort_keys=True)}\n".encode())
    remove_drafts(path)
    return found


def approvals_for(document: Document | None) -> Approvals:
    """The approvals, required if the configuration says so, even if it is invalid otherwise."""
    server = as_object(as_object(document.value if document else None).get("server"))
    return Approvals(required=server.get("plugins", "listed") != "listed")
