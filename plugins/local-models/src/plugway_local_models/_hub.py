"""Download models from a Hugging Face-style hub: resumed after interruptions, then verified.

Which files are a model is decided by its kind; see `_kinds`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx2

from plugway import as_list, as_object
from plugway_local_models._folder import UnusableModel, is_inside
from plugway_local_models._kinds import ModelKind, PullFailed, RemoteFile, model_kinds

PUBLIC_HUB: Final = "https://huggingface.co"
_NAME: Final = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(?::(?P<variant>[\w.-]+))?")
_SHA256: Final = re.compile(r'^(?:W/)?"?([0-9a-f]{64})"?$')
_ATTEMPTS: Final = 5
_PAGES: Final = 50
"""Most pages of a list of files; each has 1,000."""
_ODD: Final = (httpx2.InvalidURL, httpx2.TooManyRedirects, httpx2.DecodingError)
"""Failures that the next attempt would have, too."""

Progress = Callable[[str, int, int], None]
"""Called with the file name, the downloaded bytes, and the total bytes."""


class Hub:
    """One hub."""

    def __init__(self, endpoint: str = "", *, token: str = "", timeout: float = 30.0) -> None:
        """`endpoint` defaults to `HF_ENDPOINT`, or the public hub; `token` to `HF_TOKEN`."""
        self.endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or PUBLIC_HUB).rstrip("/")
        token = token or os.environ.get("HF_TOKEN", "")
        headers = {"accept-encoding": "identity"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        # The client drops the token if a redirect leads to another host.
        self._client = httpx2.Client(headers=headers, timeout=timeout, follow_redirects=True)

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def files(self, repo: str) -> list[RemoteFile]:
        """All files of a repository."""
        url = f"{self.endpoint}/api/models/{quote(repo)}/tree/main?recursive=1"
        found: list[RemoteFile] = []
        for _ in range(_PAGES):
            answer = self._get(url, repo)
            try:
                entries: Any = answer.json()
            except (ValueError, RecursionError):
                entries = None
            if not isinstance(entries, list):
                raise PullFailed(
                    f"{self.endpoint} did not list the files of `{repo}`; check that it is a hub"
                )
            listed = map(as_object, as_list(entries))
            found += [_remote(entry) for entry in listed if "path" in entry]
            following = answer.links.get("next", {}).get("url", "")
            if not following.startswith(f"{self.endpoint}/"):
                break
            url = following
        return found

    def download(
        self, repo: str, file: RemoteFile, target: Path, progress: Progress, kind: ModelKind
    ) -> None:
        """Download to `target`; an existing part is continued."""
        part = _part(target)
        part.parent.mkdir(parents=True, exist_ok=True)
        _check_space(part, file)
        url = f"{self.endpoint}/{quote(repo)}/resolve/main/{quote(file.path)}"
        expected = file.sha256
        for attempt in range(_ATTEMPTS):
            try:
                expected = self._fetch(url, part, file, progress) or expected
                break
            except _ODD as error:
                raise PullFailed(f"{file.path} cannot be downloaded: {error}") from None
            except (httpx2.TransportError, _CutOff) as error:
                if attempt == _ATTEMPTS - 1:
                    raise PullFailed(
                        f"{file.path} was interrupted {_ATTEMPTS} times ({error}); "
                        "run the command again to continue the download"
                    ) from None
        _verify(part, expected, file, kind)
        part.replace(target)

    def _fetch(self, url: str, part: Path, file: RemoteFile, progress: Progress) -> str:
        """One attempt; returns the hash that the server reports, or an empty string."""
        have = part.stat().st_size if part.is_file() else 0
        if have > file.size > 0:
            part.unlink()
            have = 0
        if file.size and have == file.size:
            return ""
        headers = {"range": f"bytes={have}-"} if have else {}
        with self._client.stream("GET", url, headers=headers) as answer:
            _raise_status(answer.status_code, url, file.path)
            stated = _stated_hash([*answer.history, answer])
            resumed = have > 0 and answer.status_code == 206
            have = have if resumed else 0
            with part.open("ab" if resumed else "wb") as out:
                for chunk in answer.iter_bytes():
                    out.write(chunk)
                    have += len(chunk)
                    if have > file.size > 0:
                        break
                    progress(file.path, have, file.size)
        if file.size and have < file.size:
            raise _CutOff(f"{have:,} of {file.size:,} bytes")
        if have > file.size > 0:
            part.unlink()
            raise PullFailed(
                f"{file.path} is larger than the {file.size:,} bytes that {self.endpoint} lists: "
                "deleted; run the command again, or use another hub"
            )
        return stated

    def _get(self, url: str, repo: str) -> httpx2.Response:
        try:
            answer = self._client.get(url)
        except (httpx2.TransportError, *_ODD) as error:
            raise PullFailed(f"cannot connect to {self.endpoint}: {error}") from None
        _raise_status(answer.status_code, url, repo)
        return answer


class _CutOff(Exception):
    """The transfer ended early."""


def pull(
    hub: Hub,
    name: str,
    folder: Path,
    progress: Progress,
    kinds: Sequence[ModelKind] | None = None,
) -> list[Path]:
    """Download `ORG/REPO[:VARIANT]` to `folder`; returns the files, the one to load first. `kinds`
    defaults to those of all installed packages.

    Raises:
        PullFailed: unknown repository or file, a network error, or a wrong hash.
    """
    match = _NAME.fullmatch(name)
    if match is None or ".." in name:
        raise PullFailed(f"`{name}` is not of the form ORG/REPO or ORG/REPO:QUANT")
    repo = match["repo"]
    kinds = model_kinds() if kinds is None else kinds
    kind, chosen = _choose(hub.files(repo), match["variant"] or "", repo, kinds)
    paths: list[Path] = []
    for file in chosen:
        target = folder / repo / Path(file.path).name
        if not (is_inside(target, folder) and is_inside(_part(target).resolve(), folder)):
            raise PullFailed(f"{target} is a link to another folder, or in one: remove the link")
        if not _complete(target, file):
            hub.download(repo, file, target, progress, kind)
        paths.append(target)
    try:
        kind.check_all(paths)
    except UnusableModel as error:
        raise PullFailed(f"`{name}` was downloaded but cannot be loaded: {error}") from None
    return paths


def _choose(
    files: Sequence[RemoteFile], variant: str, repo: str, kinds: Sequence[ModelKind]
) -> tuple[ModelKind, Sequence[RemoteFile]]:
    """The first kind that has that variant, and its files. Raises `PullFailed` if none has."""
    failures: list[PullFailed] = []
    for kind in kinds:
        try:
            if chosen := kind.choose(files, variant, repo):
                return kind, chosen
        except PullFailed as error:
            failures.append(error)
    if failures:
        raise failures[0]
    titles = " or ".join(kind.title for kind in kinds)
    raise PullFailed(f"`{repo}` has no {titles} file; try a repository with {titles} in its name")


def _remote(entry: Mapping[str, Any]) -> RemoteFile:
    """An entry of the list of files; values of another kind count as not reported."""
    lfs = as_object(entry.get("lfs"))
    sizes = (lfs.get("size"), entry.get("size"))
    size = next((size for size in sizes if type(size) is int and size > 0), 0)
    return RemoteFile(str(entry["path"]), size, str(lfs.get("oid") or ""))


def _part(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def _complete(target: Path, file: RemoteFile) -> bool:
    return target.is_file() and target.stat().st_size == file.size > 0


def _check_space(part: Path, file: RemoteFile) -> None:
    have = part.stat().st_size if part.is_file() else 0
    free = shutil.disk_usage(part.parent).free
    if file.size - have > free:
        raise PullFailed(
            f"{file.path} needs {file.size - have:,} bytes and {part.parent} has {free:,} left"
        )


def _verify(part: Path, expected: str, file: RemoteFile, kind: ModelKind) -> None:
    if expected:
        with part.open("rb") as data:
            found = hashlib.file_digest(data, "sha256").hexdigest()
        if found != expected:
            part.unlink()
            raise PullFailed(f"{file.path} has the SHA-256 {found} instead of {expected}: deleted")
    try:
        kind.check_file(part, file)
    except UnusableModel as error:
        part.unlink()
        raise PullFailed(f"{file.path} is not a valid model: {error}") from None


def _stated_hash(answers: Sequence[httpx2.Response]) -> str:
    """The hash in the redirect to the storage server, or in that server's own response."""
    for answer in answers:
        for header in ("x-linked-etag", "etag"):
            match = _SHA256.match(answer.headers.get(header, ""))
            if match:
                return match[1]
    return ""


def _raise_status(status: int, url: str, what: str) -> None:
    if status < 400:
        return
    reasons = {
        401: "needs a token: set HF_TOKEN, and accept the model's licence on its page",
        403: "is not open to this token: accept the model's licence on its page",
        404: "does not exist there",
        416: "changed during the download: delete its .part file and run the command again",
    }
    raise PullFailed(f"`{what}` {reasons.get(status, f'was refused with status {status}')} ({url})")
