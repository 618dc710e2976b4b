"""Builds and runs the image of a Dockerfile without Docker, in chroots of Debian.

Every `RUN`, `COPY`, `ENV`, `USER` … is done as it is written, on a base of the same Debian release
and Python version as the image's: `mmdebstrap` makes it. A container is a process tree in its own
mount, process and host-name namespaces, with a read-only root. It shows what the instructions do;
it does not replace Docker's isolation, so only our own Dockerfile is built.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.deploy.dockerfile import Ignored, pairs, read, substituted, words_of

RELEASE = "bookworm"
PACKAGES = "ca-certificates,python3,python3-venv"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TRUSTED = Path("/etc/ssl/certs/ca-certificates.crt")
PIP = ("PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT")
"""Where this machine's pip looks, which the build has to be told: it sees none of its settings."""


def needed():
    """Skips the test where this machine cannot do it, with the reason."""
    if os.geteuid() != 0:
        pytest.skip("chroot and mount need root")
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap is not installed")
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=False).returncode:
        pytest.skip("this machine allows no namespaces")


def run(*command, **options):
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, f"{command[0]}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


def base(folder):
    """A Debian with Python where the official image has it."""
    run("mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", RELEASE, folder)
    for name in ("python", "python3"):
        (folder / "usr/local/bin" / name).symlink_to("/usr/bin/python3")
    return folder


@dataclass
class Built:
    """A stage that was built: its files, and what a container of it starts with."""

    root: Path
    env: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    user: str = "0:0"
    folder: str = "/"
    entry: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)


def build(dockerfile, context, base_folder, folder, arguments=None):
    """The last stage of a Dockerfile, built below `folder`."""
    stages: dict[str, Built] = {}
    ignored = Ignored(context / ".dockerignore")
    for number, stage in enumerate(read(dockerfile)):
        assert stage.base == "python:3.11-slim-bookworm", "the base that `base` stands for"
        built = Built(folder / (stage.name or str(number)))
        run("cp", "-a", "--reflink=auto", base_folder, built.root)
        values = dict(built.env)
        for step in stage.steps:
            if step.name == "ARG":
                named = pairs(step.text)
                values |= named | {n: v for n, v in (arguments or {}).items() if n in named}
            else:
                _do(step, built, values, stages, context, ignored)
        stages[stage.name or str(number)] = built
    return built


def _do(step, built, values, stages, context, ignored):
    """Do one instruction."""
    match step.name:
        case "RUN":
            _run(built, values, ["/bin/sh", "-c", step.text])
        case "COPY":
            words = substituted(step.text, values).split()
            origin, ignore = context, ignored
            if words[0].startswith("--from="):
                origin, ignore = stages[words.pop(0).removeprefix("--from=")].root, None
            assert not words[0].startswith("--"), step.text
            _copy(words[:-1], origin, ignore, built, words[-1])
        case "ENV":
            named = pairs(substituted(step.text, values))
            built.env |= named
            values |= named
        case "USER":
            built.user = step.text
        case "WORKDIR":
            built.folder = step.text
            _inside(built.root, step.text).mkdir(parents=True, exist_ok=True)
        case "ENTRYPOINT":
            built.entry = words_of(step.text)
        case "CMD":
            built.command = words_of(step.text)


def _inside(root, path):
    return root / path.lstrip("/")


def _run(built, values, command):
    """Run a command of the build, with the network of this machine."""
    assert built.user == "0:0"
    assert "--mount" not in command[-1].partition(" ")[0]
    prepare = (
        f'mount --bind "{built.root}" "{built.root}" && cd "{built.root}"'
        " && mount -t proc proc proc && mount --rbind /dev dev"
        " && mount --bind /etc/resolv.conf etc/resolv.conf"
        f" && mount --bind {TRUSTED} .{TRUSTED}"
        f' && exec chroot . /bin/sh -c \'cd "$0" && exec "$@"\' "{built.folder}" "$@"'
    )
    (built.root / "etc/resolv.conf").touch()
    env = {**values, "DEBIAN_FRONTEND": "noninteractive", "HOME": "/root"}
    env |= {name: os.environ[name] for name in PIP if name in os.environ}
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    run(*unshare, "/bin/sh", "-c", prepare, "sh", *command, env=env)


def _copy(sources, origin, ignored, built, target):
    """Copy files like `COPY`: the contents of a folder, and a file by its name into a folder."""
    into = _inside(built.root, str(Path(built.folder) / target))
    for source in sources:
        found = _inside(origin, source)
        assert found.exists(), f"COPY {source}: not in the context"
        if found.is_dir():

            def left_out(folder, names):
                paths = {name: (Path(folder) / name).relative_to(origin) for name in names}
                return {name for name, path in paths.items() if ignored and ignored(str(path))}

            shutil.copytree(found, into, symlinks=True, dirs_exist_ok=True, ignore=left_out)
            continue
        assert not (ignored and ignored(source)), f"COPY {source}: kept out by .dockerignore"
        target_file = into / found.name if target.endswith("/") else into
        target_file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found, target_file)


class Container:
    """A process tree in the built image, as the image's user, with a read-only root.

    Only the folders in `binds`, the state and `/tmp` are from outside. The network is shared.
    """

    def __init__(self, built, binds, *, command=(), user=None, env=None, writable=True):
        user, group = (user or built.user).split(":")
        root = built.root
        mounts = [f'mount --bind "{root}" "{root}"', f'cd "{root}"', "mount -t proc proc proc"]
        mounts += ["mount --rbind /dev dev"]
        for source, target in binds.items():
            mounts.append(f'mount --bind "{source}" ".{target}"')
            if not (writable and target == "/var/lib/plugway"):
                mounts.append(f'mount -o remount,ro,bind "{source}" ".{target}"')
        mounts += ["mount -t tmpfs -o mode=1777,size=64m tmpfs tmp"]
        mounts += [f'mount -o remount,ro,bind "{root}" "{root}"']
        limits = f"--reuid {user} --regid {group} --clear-groups --no-new-privs"
        limits += " --bounding-set=-all --inh-caps=-all"
        inner = f'cd "{built.folder}" && exec setpriv {limits} "$@"'
        script = " && ".join([*mounts, f"exec chroot . /bin/sh -c '{inner}' sh \"$@\""])
        words = [*built.entry, *(command or built.command)]
        # `script` mounts on what it finds, so that a target has to be there.
        for source, target in binds.items():
            place = _inside(root, target)
            if Path(source).is_dir():
                place.mkdir(parents=True, exist_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
        unshare = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork"]
        self.process = subprocess.Popen(
            [*unshare, "/bin/sh", "-c", script, "sh", *words],
            env={**built.env, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._built = built

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.first().kill()  # and with it, as their process 1, all of the container
        self.process.communicate()

    def line_with(self, text):
        """Read the output up to a line with `text`; returns all of it."""
        said = ""
        for line in self.process.stdout:
            said += line
            if text in line:
                return said
        raise AssertionError(f"it ended without {text!r}: {said}")

    def first(self):
        """The process that is number 1 in the container."""
        while not (children := psutil.Process(self.process.pid).children()):
            assert self.process.poll() is None, "it has ended"
        return children[0]

    def ended(self, seconds=60):
        """Wait for its end: the exit status, and the rest of its output."""
        said, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, said

    def execute(self, command):
        """Run a command in the container as its user, like `docker exec`: exit status, output."""
        user, group = self._built.user.split(":")
        enter = ["nsenter", "--target", str(self.first().pid), "--mount", "--pid", "--root", "--wd"]
        limits = ["setpriv", "--reuid", user, "--regid", group, "--clear-groups"]
        words = [*enter, *limits, *command]
        done = subprocess.run(
            words, env=self._built.env, check=False, capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr
