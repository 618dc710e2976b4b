"""Signed lists of names, versions and hashes, by `ssh-keygen -Y` with Ed25519 keys; offline.

The list is a lock (`_pip`). Who may sign is in a file of allowed signers, see "ALLOWED SIGNERS" in
ssh-keygen(1): a line may limit a key to a time (`valid-before="20270101"`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import platformdirs

from plugway import PlugwayError
from plugway_install._pip import Pin, read_lock, write_lock

LIST = "plugway-signed.txt"
"""Name of the list in a folder of wheels; the signature has `.sig` added."""
_NAMESPACE = "plugway"
_MAX_BYTES = 4 << 20


def signers_path() -> Path:
    """The file of allowed signers; signatures are required if it exists."""
    return settings() / "allowed-signers"


def revoked_path() -> Path:
    """The file of revoked keys: public keys, or a key revocation list of `ssh-keygen -k`."""
    return settings() / "revoked-signers"


def settings() -> Path:
    """The folder of the user's settings."""
    return platformdirs.user_config_path("plugway", appauthor=False)


@dataclass(frozen=True, slots=True)
class SignedList:
    """A list whose signature is valid."""

    signer: str = ""
    """The name in the file of allowed signers; empty if there is no list."""
    key: str = ""
    """The fingerprint of the key."""
    pins: frozenset[tuple[str, str, str]] = field(default=frozenset(), repr=False)

    def has(self, pin: Pin) -> bool:
        """Whether exactly this file is signed."""
        return (pin.name, pin.version, pin.sha256) in self.pins


def verified(path: Path) -> SignedList:
    """The list at `path`, signed by an allowed signer. Raises `PlugwayError`."""
    try:
        raw = path.read_bytes()[: _MAX_BYTES + 1]
        signature = path.with_name(f"{path.name}.sig")
        if not signature.is_file():
            raise PlugwayError(f"{path} has no signature ({signature.name})")
    except OSError as error:
        raise PlugwayError(f"cannot read {path}: {error.strerror}") from None
    if len(raw) > _MAX_BYTES:
        raise PlugwayError(f"{path} is larger than 4 MiB")
    allowed = signers_path()
    if not allowed.is_file():
        raise PlugwayError(f"no signer is allowed yet: add one to {allowed}")
    files = ["-s", str(signature), "-f", str(allowed)]
    status, said = _keygen("find-principals", *files)
    signer = said.splitlines()[0].strip() if status == 0 and said.strip() else ""
    if not signer:
        raise PlugwayError(
            f"{path} is not signed by anyone whose key is valid now in {allowed}: {said.strip()}"
        )
    words = ("verify", *files, "-I", signer, "-n", _NAMESPACE)
    status, said = _keygen(*words, given=raw)
    valid = said
    if status == 0 and revoked_path().exists():
        status, said = _keygen(*words, "-r", str(revoked_path()), given=raw)
        said = f"the key of {signer} is revoked in {revoked_path()}" if status else said
    key = re.search(r"with ED25519(?:-SK)? key (\S+)", valid)
    if status or key is None:
        reason = "; ".join(said.split("\n")).strip("; ")
        raise PlugwayError(f"the signature of {path} is not valid: {reason}")
    pins = read_lock(raw.decode("utf-8", "replace"), path)
    known = frozenset((pin.name, pin.version, pin.sha256) for pin in pins)
    return SignedList(signer, key.group(1), known)


def sign(pins: Sequence[Pin], path: Path, key: Path) -> None:
    """Write the list to `path`, and sign it with a private key; `ssh-keygen` may ask for its
    passphrase. An earlier list is replaced once the new one is signed. Raises `PlugwayError`."""
    signature = f"{path.name}.sig"
    try:
        with TemporaryDirectory(prefix=".plugway-", dir=path.parent) as folder:
            draft = write_lock(pins, Path(folder) / path.name)
            words = ("sign", "-f", str(key), "-n", _NAMESPACE, str(draft))
            status, said = _keygen(*words, terminal=True)
            if status:
                raise PlugwayError(f"`ssh-keygen` cannot sign with {key}: {said.strip()}")
            draft.with_name(signature).replace(path.with_name(signature))
            draft.replace(path)
    except OSError as error:
        raise PlugwayError(f"cannot write {path}: {error.strerror}") from None


def _keygen(*words: str, given: bytes = b"", terminal: bool = False) -> tuple[int, str]:
    # not from the environment, where a package could have put one
    own = sysconfig.get_path("scripts")
    folders = [f for f in os.environ.get("PATH", os.defpath).split(os.pathsep) if f != own]
    program = shutil.which("ssh-keygen", path=os.pathsep.join(folders))
    if program is None:
        raise PlugwayError("`ssh-keygen` is missing: install OpenSSH 8.9 or newer")
    done = subprocess.run(
        [program, "-Y", *words],
        input=None if terminal else given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.returncode, done.stdout.decode("utf-8", "replace")
