"""Kinds of models on disk, such as GGUF: each package that can load one registers it.

`plugway models list | pull | show | rm` work with all of them. The entry point group is
`plugway.model_kinds`; each name is that of the kind, each object a `ModelKind`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final, Protocol, cast

from plugway import PlugwayError
from plugway_local_models._folder import ModelFile, NoSuchModel
from plugway_packages import Approvals

KIND_GROUP: Final = "plugway.model_kinds"

_log = logging.getLogger("plugway.local-models")


class PullFailed(Exception):
    """The model could not be downloaded; the message has the reason and the fix."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository on a hub."""

    path: str
    size: int
    """Bytes; 0 if the hub does not report it."""
    sha256: str
    """Empty if the hub does not report it."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What `plugway models list` shows of a model."""

    bytes: int
    """Of all its files."""
    architecture: str = "?"
    context: int = 0
    """Tokens that it was trained for; 0 if unknown."""
    about: str = ""
    """Its title, or why it cannot be loaded."""


class ModelKind(Protocol):
    """A kind of models: what they are made of, on this machine and on a hub.

    Its module is imported by each `plugway models` command, also if the engine is not installed.
    """

    @property
    def title(self) -> str:
        """The kind in messages, such as `GGUF`."""
        ...

    def models(self) -> Sequence[ModelFile]:
        """The models that can be loaded: those that ship with a package, then those of
        `models_folder()`."""
        ...

    def find(self, name: str) -> ModelFile:
        """The model that the user of this machine means by a name or a path.

        Raises:
            NoSuchModel: there is none of this kind, or more than one.
        """
        ...

    def facts(self, model: ModelFile) -> ModelFacts:
        """A summary; raises nothing for a damaged model but says so in `about`."""
        ...

    def details(self, model: ModelFile) -> Mapping[str, Any]:
        """What `plugway models show` adds, with the memory that the model needs here.

        Raises:
            UnusableModel: the model is damaged or incomplete.
        """
        ...

    def files(self, model: ModelFile) -> Sequence[Path]:
        """The files of the model that exist, to delete them; empty if it is not a model."""
        ...

    def choose(self, files: Sequence[RemoteFile], variant: str, repo: str) -> Sequence[RemoteFile]:
        """The files of a repository to download for one model, the one to load first; empty if it
        has none of this kind. `variant` is the part of the name after `:`, or empty.

        Raises:
            PullFailed: it has models of this kind, but not that variant.
        """
        ...

    def check_file(self, path: Path, file: RemoteFile) -> None:
        """Check one downloaded file; its name is that of `file`, not yet that of `path`.

        Raises:
            UnusableModel: it is not what its name says, and will be deleted.
        """
        ...

    def check_all(self, paths: Sequence[Path]) -> None:
        """Check that the downloaded files are a whole model.

        Raises:
            UnusableModel: they are not.
        """
        ...


def model_kinds() -> list[ModelKind]:
    """The kinds that the installed packages register, by name; one that cannot be imported, or is
    not approved, is logged and left out."""
    kinds: list[ModelKind] = []
    approvals = Approvals()
    for entry in sorted(entry_points(group=KIND_GROUP), key=lambda entry: entry.name):
        try:
            kinds.append(cast("ModelKind", approvals.load(entry)))
        except PlugwayError as error:
            _log.warning("models of the kind `%s` are left out: it %s", entry.name, error)
    return kinds


def find_model(name: str, kinds: Sequence[ModelKind]) -> tuple[ModelKind, ModelFile]:
    """The model that the user means, of any kind; one of exactly that name comes first.

    Raises:
        NoSuchModel: there is none, or more than one.
    """
    found: list[tuple[ModelKind, ModelFile]] = []
    errors: list[NoSuchModel] = []
    for kind in kinds:
        try:
            found.append((kind, kind.find(name)))
        except NoSuchModel as error:
            errors.append(error)
    if not found:
        raise errors[0] if errors else NoSuchModel("no package that loads models is installed")
    exact = [(kind, model) for kind, model in found if model.name == name]
    return (exact or found)[0]
