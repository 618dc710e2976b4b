"""The commands `plugway install`, `remove`, `sign` and `permissions`."""

from plugway_install._commands import install_app, permissions_app, remove_app, sign_app

__all__ = ["install_app", "permissions_app", "remove_app", "sign_app"]
