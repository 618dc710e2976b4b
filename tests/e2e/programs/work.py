"""The two tools that each program next to this file offers to its model."""

import subprocess
from pathlib import Path


def write_file(path: str, content: str) -> str:
    """Write a file.

    Args:
        path: Where it shall be.
        content: All of its text.
    """
    Path(path).write_text(content)
    return f"{len(content)} characters were written."


def run_command(command: str) -> str:
    """Run a command in a shell, and return what it prints.

    Args:
        command: As one would type it.
    """
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout


TOOLS = {"write_file": write_file, "run_command": run_command}
