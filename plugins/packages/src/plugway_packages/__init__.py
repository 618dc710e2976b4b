"""What an installed package of plugins consists of: its files, and the permissions it declares."""

from plugway_packages._files import editable_source, fingerprint
from plugway_packages._permissions import (
    FILE,
    Permissions,
    PermissionsError,
    parse_permissions,
    permissions,
)
from plugway_packages._startup import RefusedFile, StartupFiles, startup_files

__all__ = [
    "FILE",
    "Permissions",
    "PermissionsError",
    "RefusedFile",
    "StartupFiles",
    "editable_source",
    "fingerprint",
    "parse_permissions",
    "permissions",
    "startup_files",
]
