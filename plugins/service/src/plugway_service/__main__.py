"""`python -m plugway_service`: the command for Windows, where `pythonw` opens no console."""

import sys
from importlib.metadata import entry_points

if __name__ == "__main__":
    (command,) = entry_points(group="console_scripts", name="plugway")
    command.load()(["service", *sys.argv[1:]])
