"""Services as scheduled tasks that run at logon (Windows). Not run on Windows yet.

From Microsoft's "Task Scheduler Schema" and the reference of `schtasks`.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final, Union
from xml.etree import ElementTree

import platformdirs

from plugway_service._model import WRITTEN_BY, Service, Setting, State, Step
from plugway_service._run import run

_SCHEMA: Final = "http://schemas.microsoft.com/windows/2004/02/mit/task"
_Content = Union[str, "dict[str, _Content]"]
_TASK: Final[dict[str, _Content]] = {
    "Triggers": {"LogonTrigger": {"Enabled": "true", "UserId": "{user}"}},
    "Principals": {
        "Principal": {
            "UserId": "{user}",
            "LogonType": "InteractiveToken",
            "RunLevel": "LeastPrivilege",
        }
    },
    "Settings": {
        "MultipleInstancesPolicy": "IgnoreNew",
        "DisallowStartIfOnBatteries": "false",
        "StopIfGoingOnBatteries": "false",
        # No time limit; the default ends a task after three days.
        "ExecutionTimeLimit": "PT0S",
        "RestartOnFailure": {"Interval": "PT1M", "Count": "5"},
    },
    "Actions": {"Exec": {"Command": "{command}", "Arguments": "{arguments}"}},
}


class TaskScheduler:
    """Tasks of this user."""

    title = "Task Scheduler"

    @property
    def folder(self) -> Path:
        """The folder with the tasks that were registered; Windows keeps copies."""
        return platformdirs.user_state_path("plugway", appauthor=False) / "services"

    def path(self, unit: str) -> Path:
        """The task's file."""
        return self.folder / f"{unit}.xml"

    def content(self, service: Service, setting: Setting) -> bytes:
        """The task. `schtasks` expects UTF-16."""
        program, *words = setting.command
        words += ["--environment", str(setting.environment_file), "--log", str(service.log)]
        values = {
            "user": _user(),
            "command": program,
            # Windows splits the line by the rules that this function follows.
            "arguments": subprocess.list2cmdline([*words, *service.arguments()]),
        }
        task = ElementTree.Element("Task", {"version": "1.2", "xmlns": _SCHEMA})
        task.append(ElementTree.Comment(f" {WRITTEN_BY} "))
        task.append(ElementTree.Comment(f" {service.mark} "))
        _fill(task, _TASK, values)
        ElementTree.indent(task)
        text = '<?xml version="1.0" encoding="UTF-16"?>\n'
        return (text + ElementTree.tostring(task, encoding="unicode") + "\n").encode("utf-16")

    def problem(self) -> str:
        """Why tasks cannot be managed."""
        return "" if shutil.which("schtasks") else "`schtasks` is missing"

    def can_isolate(self) -> bool:
        """Tasks have no sandbox."""
        return False

    def trial(self, setting: Setting) -> list[str]:
        """The system has none."""
        return []

    def keeps_log(self) -> bool:
        """A task writes its own log."""
        return False

    def install_steps(self, unit: str) -> list[Step]:
        """Register the file and start the task."""
        return [
            Step(["schtasks", "/Create", "/F", "/TN", unit, "/XML", str(self.path(unit))]),
            *self.start_steps(unit),
        ]

    def start_steps(self, unit: str) -> list[Step]:
        """Start the task, also if it runs with an older file."""
        return [
            Step(["schtasks", "/End", "/TN", unit], required=False),
            Step(["schtasks", "/Run", "/TN", unit]),
        ]

    def stop_steps(self, unit: str) -> list[Step]:
        """End the task, which aborts its exchanges, and remove it."""
        return [
            Step(["schtasks", "/End", "/TN", unit], required=False),
            Step(["schtasks", "/Delete", "/F", "/TN", unit], required=False),
        ]

    def removed_steps(self, unit: str) -> list[Step]:
        """Nothing."""
        return []

    def state(self, unit: str) -> State:
        """Whether it is registered. `schtasks` prints the rest in the language of the system, so
        whether it runs is learned from the gateway."""
        return State(enabled=run(["schtasks", "/Query", "/TN", unit], 20).returncode == 0)

    def log_command(self, unit: str, lines: int, *, follow: bool) -> list[str]:
        """Not used: its log is a file."""
        return []

    def notes(self, unit: str) -> list[str]:
        """When it runs."""
        return ["it starts when you log in, and ends when you log out"]


def _fill(parent: ElementTree.Element, content: _Content, values: dict[str, str]) -> None:
    if isinstance(content, dict):
        for name, inner in content.items():
            _fill(ElementTree.SubElement(parent, name), inner, values)
    else:
        parent.text = content.format_map(values)


def _user() -> str:
    domain = os.environ.get("USERDOMAIN")
    name = getpass.getuser()
    return f"{domain}\\{name}" if domain else name
