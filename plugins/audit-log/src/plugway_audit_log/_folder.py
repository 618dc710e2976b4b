"""The folder of the log: one subfolder per chain, with its files, its signed head and its lock.

signing-key                 private key, unless the configuration has one
gateway-1/
    000000000000.jsonl      records, named after the number of the first one
    head.json               the last synced record, signed
    pruned.json             the last record that was deleted with `audit prune`, signed
    key.pub                 public key
    lock                    held by the gateway that writes
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

import orjson
import platformdirs

from plugway import PlugwayError, as_object, write_file
from plugway_audit_log._chain import Signer

KEY_FILE: Final = "signing-key"
MAX_CHAINS: Final = 64
_SUFFIX: Final = ".jsonl"


def folder_of(option: object) -> Path:
    """The folder of the log: the option, or `audit` in the user's state folder."""
    if isinstance(option, str) and option:
        return Path(option).expanduser().absolute()
    return platformdirs.user_state_path("plugway", appauthor=False) / "audit"


def open_signer(folder: Path, seed: str | None) -> Signer:
    """The signer with the configured key, or with that in the folder, which is created."""
    if seed is not None:
        return Signer(seed)
    path = folder / KEY_FILE
    try:
        _create(path, Signer.new_seed().encode())
    except FileExistsError:
        pass
    except OSError as error:
        raise PlugwayError(f"cannot create {path}: {error.strerror}") from None
    return Signer(stored_seed(path))


def stored_seed(path: Path) -> str:
    """The private key in a file. Raises `PlugwayError` if it is not private or cannot be read."""
    try:
        mode = path.stat().st_mode
        text = path.read_text("ascii", "replace").strip()
    except OSError as error:
        raise PlugwayError(f"cannot read {path}: {error.strerror}") from None
    if sys.platform != "win32" and mode & 0o077:
        raise PlugwayError(
            f"other users may know the signing key (mode {mode & 0o777:04o}): delete {path} to get "
            "a new one, with which a new chain begins"
        )
    return text


def _create(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


class ChainFolder:
    """The files of one chain."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        """The chain's name, which its records contain."""

    def files(self) -> list[Path]:
        """The files with records, oldest first."""
        return sorted(p for p in self.path.glob(f"*{_SUFFIX}") if p.stem.isdigit())

    def file(self, first: int) -> Path:
        """The file whose first record has this number."""
        return self.path / f"{first:012d}{_SUFFIX}"

    def statement(self, name: str) -> Mapping[str, Any] | None:
        """A signed statement, `head` or `pruned`; None if there is none, empty if it is invalid."""
        try:
            return as_object(orjson.loads((self.path / f"{name}.json").read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, orjson.JSONDecodeError):
            return {}

    def write_statement(self, name: str, statement: Mapping[str, Any]) -> None:
        """Replace a signed statement."""
        write_file(self.path / f"{name}.json", orjson.dumps(statement) + b"\n")

    def public_key(self) -> str | None:
        """The stored public key."""
        try:
            return (self.path / "key.pub").read_text("ascii", "replace").strip()
        except OSError:
            return None


def chains_in(folder: Path) -> list[ChainFolder]:
    """The chains of a log."""
    found = [p for p in folder.glob("gateway-*") if p.is_dir()] if folder.is_dir() else []
    return [ChainFolder(p) for p in sorted(found, key=lambda p: (len(p.name), p.name))]


def claim_chain(folder: Path, public: str) -> tuple[ChainFolder, IO[bytes]]:
    """The first chain with this key that no other gateway writes, and its lock."""
    for number in range(1, MAX_CHAINS + 1):
        chain = ChainFolder(folder / f"gateway-{number}")
        try:
            chain.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = open(chain.path / "lock", "a+b")  # noqa: SIM115  it is held
        except OSError as error:
            raise PlugwayError(f"cannot write to {chain.path}: {error.strerror}") from None
        if _locked(lock):
            known = chain.public_key()
            if known is None and not chain.files():
                write_file(chain.path / "key.pub", public.encode())
                known = public
            if known == public:
                return chain, lock
        lock.close()
    raise PlugwayError(
        f"{folder} has {MAX_CHAINS} chains, all in use or with other keys: use another folder"
    )


def _locked(file: IO[bytes]) -> bool:
    """Lock the file unless another process has; the lock ends with the process."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
