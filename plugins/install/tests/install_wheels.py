"""Wheels made in a test, and an environment of its own to install them in."""

from __future__ import annotations

import base64
import hashlib
import os
import site
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

PLUGIN = """from pathlib import Path
from plugway import Plugin, hookimpl
class Probe(Plugin):
    @hookimpl
    async def finished(self, exchange, outcome): ...
"""
PERMISSIONS = 'hooks = ["finished"]\nhosts = ["api.example.com"]\n'


def record_line(name, content):
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}"


def make_wheel(folder, name="probe-one", version="1.0", *, files=None, points=None, **change):
    """A wheel of one plugin. `change` has `metadata`, `requires`, `unlisted`, `altered`, `file`."""
    stem = name.replace("-", "_")
    module = stem.lower()
    info = f"{stem}-{version}.dist-info"
    if points is None:
        points = {"plugway": {name.lower(): f"{module}:Probe"}}
    requires = "".join(f"Requires-Dist: {one}\n" for one in change.get("requires", ()))
    default = {f"{module}/__init__.py": PLUGIN, f"{module}/plugway-permissions.toml": PERMISSIONS}
    texts = {
        **(default if files is None else files),
        f"{info}/METADATA": change.get("metadata")
        or f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "\n".join(
            f"[{group}]\n" + "\n".join(f"{key} = {value}" for key, value in names.items())
            for group, names in points.items()
        ),
    }
    record = [record_line(name, text.encode()) for name, text in texts.items()]
    folder.mkdir(exist_ok=True)
    path = folder / (change.get("file") or f"{stem}-{version}-py3-none-any.whl")
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {
            **texts,
            **change.get("altered", {}),
            **change.get("unlisted", {}),
        }.items():
            archive.writestr(name, text)
        archive.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,"]) + "\n")
    return path


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass
class Gateway:
    """An environment with Plugway, as a user has it, and its settings."""

    folder: Path

    @property
    def site(self):
        return Path(
            sysconfig.get_path("purelib", vars={"base": self.folder, "platbase": self.folder})
        )

    @property
    def settings(self):
        return self.folder / "config" / "plugway"

    def start(self, *words, **environ):
        return subprocess.Popen(
            [str(self.folder / "bin" / "plugway"), *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "HOME": str(self.folder.parent),
                "PATH": "/usr/bin:/bin",  # pip asks a `rustc` for its version
                "XDG_CONFIG_HOME": str(self.folder / "config"),
                "PIP_CONFIG_FILE": os.devnull,
                "PIP_INDEX_URL": "http://127.0.0.1:9/",
                "PIP_RETRIES": "0",
                "PYTHONDONTWRITEBYTECODE": "1",
                **environ,
            },
        )

    def run(self, *words, **environ):
        process = self.start(*words, **environ)
        out, err = process.communicate(timeout=100)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def files(self):
        """Every file of the environment with its content."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and "config/" not in str(path) and "__pycache__" not in path.parts
        }

    def has(self, name):
        return any(self.site.glob(f"{name.replace('-', '_')}-*.dist-info"))

    def unpack(self, wheel):
        """Install a wheel without pip, which takes a second."""
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.site)


def make_environment(folder):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    gateway = Gateway(folder)
    ours = [path for path in site.getsitepackages() if Path(path).is_dir()]
    lines = "".join(f"import site; site.addsitedir({path!r})\n" for path in ours)
    (gateway.site / "_virtualenv_of_the_test.pth").write_text(lines)
    script = folder / "bin" / "plugway"
    script.write_text(f"#!{folder}/bin/python\nfrom plugway.cli.main import main\nmain()\n")
    script.chmod(0o755)
    return gateway
