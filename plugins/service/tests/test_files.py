"""The files of services survive every path: systemd's quoting, property lists, XML."""

from __future__ import annotations

import plistlib
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway import PlugwayError
from plugway_service import _checks
from plugway_service._launchd import Launchd
from plugway_service._model import Service, Setting, service_in, unit_name
from plugway_service._task import TaskScheduler
from plugway_service._unit import unit_text

from .systemd_syntax import options, specified, words

PROGRAM = "/home/é ü/100%h/$HOME ${X}/a;b/--x -->/#c"
"""What systemd accepts in the path of a program."""
HOSTILE = '/home/é ü/100%h/it\'s "quoted"/$HOME ${X}/a;b/back\\slash/--x -->/#c'
NAMES = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/\ufffe\uffff"),
    min_size=1,
).map(lambda name: f"/home/{name}")


def service(path=HOSTILE, **more):
    folder = Path(path)
    values = {
        "name": "work",
        "config": folder / "config.yaml",
        "port": 9000,
        "fixed_port": True,
        "log": folder / "gateway.log",
    }
    return Service(**values | more)


def setting(path=HOSTILE, program=None, **more):
    folder = Path(path)
    values = {
        "command": [str(Path(program or path) / "plugway"), "service", "serve"],
        "environment_file": folder / "environment",
        "variables": {"XDG_STATE_HOME": str(folder)},
        "writable": [folder, folder / "models"],
        "isolated": True,
    }
    return Setting(**values | more)


def values(text, name):
    return [value for _, key, value in options(text) if key == name]


@given(NAMES)
@settings(max_examples=300, deadline=None)
def test_systemd_reads_every_path_as_it_is(path):
    text = unit_text(service(path), setting(path, PROGRAM))
    folder = Path(path)
    (command,) = values(text, "ExecStart")
    assert words(command) == [
        f":{PROGRAM}/plugway",
        "service",
        "serve",
        "--config",
        f"{folder}/config.yaml",
        "--port",
        "9000",
    ]
    (variable,) = values(text, "Environment")
    assert words(variable) == [f"XDG_STATE_HOME={folder}"]
    (writable,) = values(text, "ReadWritePaths")
    assert words(writable) == [f"-{folder}", f"-{folder}/models"]
    (file,) = values(text, "EnvironmentFile")
    assert specified(file) == f"-{folder}/environment"
    (log,) = values(text, "StandardOutput")
    assert specified(log) == f"append:{folder}/gateway.log"
    assert service_in(text) == service(path)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("isolated", [True, False])
def test_systemd_itself_finds_nothing_wrong(tmp_path, isolated):
    folder, program = tmp_path / HOSTILE[1:], tmp_path / PROGRAM[1:] / "plugway"
    folder.mkdir(parents=True)
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "plugway-work.service"
    known = setting(folder, program.parent, isolated=isolated)
    unit.write_text(unit_text(service(folder), known))
    command = ["systemd-analyze", "--man=no", "verify", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert [line for line in done.stderr.splitlines() if "plugway" in line] == []
    program.unlink()
    broken = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert f"Command {program} is not executable" in broken.stderr


@pytest.mark.parametrize("folder", ["/it's", '/a"b', "/a\\b"])
def test_a_program_that_systemd_refuses_is_rejected_with_its_path(folder):
    with pytest.raises(PlugwayError, match="Move the environment"):
        unit_text(service(), setting(program=folder))


@given(NAMES)
@settings(max_examples=100, deadline=None)
def test_a_property_list_has_every_path_as_it_is(path):
    content = Launchd().content(service(path), setting(path))
    document = plistlib.loads(content)
    folder = Path(path)
    assert document["ProgramArguments"] == [
        f"{folder}/plugway",
        *("service", "serve", "--environment", f"{folder}/environment"),
        *("--config", f"{folder}/config.yaml", "--port", "9000"),
    ]
    assert document["EnvironmentVariables"] == {"XDG_STATE_HOME": str(folder)}
    assert document["StandardErrorPath"] == f"{folder}/gateway.log"
    assert service_in(content.decode()) == service(path)


def test_a_property_list_has_only_keys_of_launchd_with_their_types():
    """`launchd.plist(5)`."""
    document = plistlib.loads(Launchd().content(service(), setting()))
    types = {
        "Label": str,
        "ProgramArguments": list,
        "EnvironmentVariables": dict,
        "RunAtLoad": bool,
        "KeepAlive": dict,
        "ThrottleInterval": int,
        "ExitTimeOut": int,
        "ProcessType": str,
        "SoftResourceLimits": dict,
        "Umask": int,
        "StandardOutPath": str,
        "StandardErrorPath": str,
    }
    assert {key: type(value) for key, value in document.items()} == types
    assert (document["Label"], document["ExitTimeOut"]) == ("plugway-work", 40)


def unquoted(line):
    """The words of a command line by Windows's rules: "Parsing C++ command-line arguments"."""
    found, word, quoted, slashes, begun = [], "", False, 0, False
    for character in f"{line} ":
        if character == "\\":
            slashes += 1
            continue
        if character == '"':
            word += "\\" * (slashes // 2)
            word, quoted = (word + '"', quoted) if slashes % 2 else (word, not quoted)
            slashes, begun = 0, True
            continue
        word, slashes = word + "\\" * slashes, 0
        if character in " \t" and not quoted:
            if word or begun:
                found.append(word)
            word, begun = "", False
        else:
            word += character
    return found


@given(NAMES)
@settings(max_examples=100, deadline=None)
def test_a_task_has_every_path_as_it_is(path):
    content = TaskScheduler().content(service(path), setting(path))
    text = content.decode("utf-16")
    # The parser reads its own declaration; characters that XML lacks would fail here.
    root = ElementTree.fromstring(content)
    space = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
    folder = Path(path)
    assert root.findtext(f"{space}Actions/{space}Exec/{space}Command") == f"{folder}/plugway"
    line = root.findtext(f"{space}Actions/{space}Exec/{space}Arguments")
    assert unquoted(line) == [
        *("service", "serve", "--environment", f"{folder}/environment"),
        *("--log", f"{folder}/gateway.log", "--config", f"{folder}/config.yaml"),
        *("--port", "9000"),
    ]
    assert service_in(text) == service(path)


def test_a_task_has_only_elements_of_the_schema_in_their_places():
    """Microsoft, "Task Scheduler Schema": `taskType`, `settingsType`, `logonTriggerType`."""
    root = ElementTree.fromstring(TaskScheduler().content(service(), setting()))
    names = {
        "/".join(element.tag.partition("}")[2] for element in (*parents, leaf))
        for parents, leaf in leaves(root, ())
    }
    assert names == {
        "Task/Triggers/LogonTrigger/Enabled",
        "Task/Triggers/LogonTrigger/UserId",
        "Task/Principals/Principal/UserId",
        "Task/Principals/Principal/LogonType",
        "Task/Principals/Principal/RunLevel",
        "Task/Settings/MultipleInstancesPolicy",
        "Task/Settings/DisallowStartIfOnBatteries",
        "Task/Settings/StopIfGoingOnBatteries",
        "Task/Settings/ExecutionTimeLimit",
        "Task/Settings/RestartOnFailure/Interval",
        "Task/Settings/RestartOnFailure/Count",
        "Task/Actions/Exec/Command",
        "Task/Actions/Exec/Arguments",
    }


def leaves(element, parents):
    children = [child for child in element if isinstance(child.tag, str)]
    if not children:
        yield parents, element
    for child in children:
        yield from leaves(child, (*parents, element))


@pytest.mark.parametrize("text", ["", "[Unit]", "plugway-service {", 'plugway-service {"name": 1}'])
def test_a_file_of_somebody_else_is_not_taken_for_ours(text):
    assert service_in(text) is None


@pytest.mark.parametrize("name", ["", "Work", "a b", "../x", "-a", "a" * 33, "ä", "a%h"])
def test_a_name_that_a_unit_cannot_have_is_rejected(name):
    with pytest.raises(PlugwayError, match="invalid service name"):
        unit_name(name)


@pytest.mark.parametrize("path", ["/a\nExecStartPre=/bin/x", "/a\x07", "/a\uffff", "/a\udcff"])
def test_a_path_that_no_file_can_contain_is_rejected(path):
    with pytest.raises(PlugwayError, match="rename it"):
        _checks.writable_text([Path(path)])


def test_without_a_sandbox_the_unit_says_so_and_keeps_the_rest():
    text = unit_text(service(), setting(program="/opt", isolated=False))
    assert values(text, "PrivateUsers") == values(text, "ReadWritePaths") == []
    assert values(text, "SystemCallFilter") == ["@system-service"]
    assert "--no-isolate" in text
