"""What an installed package of plugins consists of: its files, the permissions it declares, and
whether the user approved it."""

from plugway_packages._approvals import Approvals, ApprovalsError, approvals_path, approved
from plugway_packages._files import editable_source, fingerprint, packages_of_plugins
from plugway_packages._observed import observed, observed_path
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
    "Approvals",
    "ApprovalsError",
    "Permissions",
    "PermissionsError",
    "RefusedFile",
    "StartupFiles",
    "approvals_path",
    "approved",
    "editable_source",
    "fingerprint",
    "observed",
    "observed_path",
    "packages_of_plugins",
    "parse_permissions",
    "permissions",
    "startup_files",
]
