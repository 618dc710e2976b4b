"""Reports hosts, files and processes that a plugin uses without declaring them."""

from plugway_permissions_watch._plugin import PermissionsWatch

__all__ = ["PermissionsWatch"]
