"""An append-only record of every exchange; see the README."""

from plugway_audit_log._plugin import AuditLog

__all__ = ["AuditLog"]
