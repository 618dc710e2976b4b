"""A change that is killed, or meets a full disk, at each of its steps is complete or undone."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it forks")
SCRIPT = """
import errno, os, shutil, signal, sys
from pathlib import Path
from plugway import PlugwayError
from plugway_install import _change

HOW, ROOT = sys.argv[1], Path(sys.argv[2])
site = ROOT / "site"
sys.prefix = str(ROOT)
_change.sysconfig.get_path = lambda name: str(site)
_change.sysconfig.get_paths = lambda: {"purelib": str(site)}
WRITES = {"os.mkdir", "os.link", "os.rename", "os.remove", "os.rmdir", "shutil.copyfile"}
GROWS = {"os.mkdir", "os.link", "shutil.copyfile"}
left = None

def hook(event, args):
    global left
    writes = event == "open" and (args[1] or "").startswith(("w", "x"))
    if left is None or not (writes or event in WRITES):
        return
    left -= 1
    if HOW == "kill" and left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if HOW == "full" and left <= 0 and (writes or event in GROWS):
        raise OSError(errno.ENOSPC, "No space left on device")

sys.addaudithook(hook)

def fresh():
    shutil.rmtree(ROOT, ignore_errors=True)
    (site / "one" / "deep").mkdir(parents=True)
    (site / "one" / "__init__.py").write_text("old")
    (site / "one" / "deep" / "gone.py").write_text("old")
    (site / "one-1.dist-info").mkdir()
    (site / "one-1.dist-info" / "METADATA").write_text("old")
    (site / "other.py").write_text("mine")

def state():
    return {str(p.relative_to(ROOT)): p.read_text() for p in sorted(ROOT.rglob("*")) if p.is_file()}

def change():
    # as pip does: move the old files away, write the new ones, remove the old ones
    old = [site / "one/__init__.py", site / "one/deep/gone.py", site / "one-1.dist-info/METADATA"]
    new = [site / "one/__init__.py", site / "one/new/added.py", site / "one-2.dist-info/METADATA"]
    with _change.undone_on_failure(old, new):
        os.rename(site / "one-1.dist-info", site / "~ne-1.dist-info")
        os.rename(site / "one", site / "~ne")
        for path in new:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("new")
        (site / "one-2.dist-info" / "INSTALLER").write_text("pip")
        shutil.rmtree(site / "~ne")
        shutil.rmtree(site / "~ne-1.dist-info")

def in_child(run, steps):
    global left
    child = os.fork()
    if child == 0:
        left = steps
        try:
            run()
        except OSError as error:
            os._exit(1 if error.errno == errno.ENOSPC else 2)
        except PlugwayError as error:
            os._exit(1 if "No space" in str(error) else 2)
        except BaseException:
            os._exit(2)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

fresh()
before = state()
assert in_child(change, None) == 0
after = state()
assert after != before and not (ROOT / ".plugway-install").exists(), after
count = 0
while True:
    count += 1
    for again in (None, 1, 3, 6):  # the recovery is cut off, too
        fresh()
        code = in_child(change, count)
        assert code != 2, (HOW, count)
        if again is not None and in_child(_change.recover, again) == 2:
            raise AssertionError((HOW, count, again))
        assert in_child(_change.recover, None) == 0
        assert state() in (before, after), (HOW, count, again, state())
        assert code == 0 or HOW == "kill" or state() == before
        assert not (ROOT / ".plugway-install").exists()
    if code == 0:
        break
print(count)
"""


@pytest.mark.parametrize("how", ["kill", "full"])
def test_each_step(tmp_path, how):
    words = [sys.executable, "-c", SCRIPT, how, str(tmp_path / "prefix")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10, "it was cut off at each of its steps"
