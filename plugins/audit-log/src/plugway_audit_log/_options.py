"""The options: where the log is, when it is synced and rotated, and what happens if it fails."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from plugway import Options, Secret

Fsync = Literal["always", "interval", "never"]


class AuditLogOptions(Options):
    """Options of `audit-log`."""

    folder: str = ""
    """Folder of the log. Unset: `audit` in the user's state folder."""
    signing_key: Secret | None = None
    """Ed25519 private key that signs checkpoints: 64 hexadecimal digits; use `$keyring` or `$env`.
    Unset: one is created on first use, in the file `signing-key` of the folder."""
    if_unavailable: Literal["refuse", "continue"] = "refuse"
    """What happens while the log cannot be written, as on a full disk: new requests are refused
    with 503, or they are served and the log says later how many records it lost."""
    bodies: bool = False
    """Record requests and replies too. Keys that the gateway knows are redacted, as in its log."""
    body_bytes: int = Field(default=1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    """With `bodies`: maximum bytes of a recorded request or reply; longer ones are cut."""
    fsync: Fsync = "interval"
    """When records are synced to the disk: before the next ones are written, every
    `interval_seconds`, or when the operating system does."""
    interval_seconds: float = Field(default=1.0, ge=0.1, le=60, allow_inf_nan=False)
    """Interval of `fsync: interval`, and of writing the signed head if anything was recorded."""
    checkpoint_records: int = Field(default=1000, ge=10, le=100_000)
    """A signed checkpoint follows at least every so many records."""
    rotate_mib: int = Field(default=64, ge=1, le=4096)
    """A new file begins above this size, and each day (UTC)."""
    queue: int = Field(default=2048, ge=16, le=100_000)
    """Maximum records that wait to be written, including those of requests in flight."""
