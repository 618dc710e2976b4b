"""What runs, and the last exchanges with their receipts: a page, and `plugway logs`."""

from plugway_dashboard._commands import logs_app, ui_app
from plugway_dashboard._plugin import Dashboard, DashboardOptions

__all__ = ["Dashboard", "DashboardOptions", "logs_app", "ui_app"]
