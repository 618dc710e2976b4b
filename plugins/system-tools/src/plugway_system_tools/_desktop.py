"""The clipboard, the screen and notifications, by the programs that each system has for them.

They are started for a call and end with it, so that one that hangs can be killed. Text reaches
them on standard input or as an argument, never as part of a script.
"""

from __future__ import annotations

import base64
import html
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import anyio
import anyio.to_thread

from plugway_system_tools._commands import CommandFailed, give, output_of

Action = Literal["read", "write", "screenshot", "notify"]
Session = Literal["wayland", "x11", "macos", "windows"]

MOST_TEXT: Final = 1_000_000
MOST_IMAGE: Final = 3_700_000
"""Bytes of a picture; in base64 that is under the 5 MB that the Messages API takes."""
FILE: Final = "{file}"
"""Stands for the file that a program writes the picture to."""
_POWERSHELL: Final = ("powershell", "-NoProfile", "-NonInteractive", "-Command")
_EMPTY: Final = ("not available", "No selection", "Nothing is copied", "No suitable type")
"""What programs say about a clipboard without text."""
_UTF8: Final = "[Console]::InputEncoding = [Console]::OutputEncoding = [Text.Encoding]::UTF8; "
_WINDOWS_SCREEN: Final = (
    "Add-Type -AssemblyName System.Windows.Forms,System.Drawing; "
    "$b = [Windows.Forms.SystemInformation]::VirtualScreen; "
    "$i = New-Object Drawing.Bitmap $b.Width, $b.Height; "
    "$g = [Drawing.Graphics]::FromImage($i); "
    "$g.CopyFromScreen($b.Location, [Drawing.Point]::Empty, $b.Size); "
    "$i.Save([Console]::In.ReadToEnd(), [Drawing.Imaging.ImageFormat]::Jpeg)"
)
_WINDOWS_NOTICE: Final = (
    "Add-Type -AssemblyName System.Windows.Forms,System.Drawing; "
    '$t = [Console]::In.ReadToEnd() -split "`0", 2; '
    "$n = New-Object Windows.Forms.NotifyIcon; "
    "$n.Icon = [Drawing.SystemIcons]::Information; $n.Visible = $true; "
    "$n.ShowBalloonTip(5000, $t[0], $t[1], 'Info'); Start-Sleep 5; $n.Dispose()"
)
_MAC_NOTICE: Final = (
    "on run argv",
    "display notification (item 2 of argv) with title (item 1 of argv)",
    "end run",
)


@dataclass(frozen=True, slots=True)
class Helper:
    """A program of the system."""

    command: tuple[str, ...]
    package: str
    """What to install, as Debian calls it; empty where the program belongs to the system."""


HELPERS: Final[Mapping[tuple[Session, Action], Sequence[Helper]]] = {
    ("wayland", "read"): (Helper(("wl-paste", "--no-newline", "--type", "text"), "wl-clipboard"),),
    ("wayland", "write"): (Helper(("wl-copy", "--type", "text/plain"), "wl-clipboard"),),
    ("wayland", "screenshot"): (
        Helper(("grim", "-t", "jpeg", "-q", "75", FILE), "grim"),
        Helper(("spectacle", "-b", "-n", "-f", "-o", FILE), "kde-spectacle"),
        Helper(("gnome-screenshot", "-f", FILE), "gnome-screenshot"),
    ),
    ("x11", "read"): (
        Helper(("xclip", "-selection", "clipboard", "-out"), "xclip"),
        Helper(("xsel", "--clipboard", "--output"), "xsel"),
    ),
    ("x11", "write"): (
        Helper(("xclip", "-selection", "clipboard", "-in"), "xclip"),
        Helper(("xsel", "--clipboard", "--input"), "xsel"),
    ),
    ("x11", "screenshot"): (
        Helper(("scrot", "--quality", "75", FILE), "scrot"),
        Helper(("maim", "--format=jpg", "--quality=7", FILE), "maim"),
        Helper(("gnome-screenshot", "-f", FILE), "gnome-screenshot"),
    ),
    ("macos", "read"): (Helper(("pbpaste",), ""),),
    ("macos", "write"): (Helper(("pbcopy",), ""),),
    ("macos", "screenshot"): (Helper(("screencapture", "-x", "-t", "jpg", FILE), ""),),
    ("windows", "read"): (Helper((*_POWERSHELL, f"{_UTF8}Get-Clipboard -Raw"), ""),),
    ("windows", "write"): (
        Helper((*_POWERSHELL, f"{_UTF8}Set-Clipboard -Value ([Console]::In.ReadToEnd())"), ""),
    ),
    ("windows", "screenshot"): (Helper((*_POWERSHELL, _UTF8 + _WINDOWS_SCREEN), ""),),
    ("windows", "notify"): (Helper((*_POWERSHELL, _UTF8 + _WINDOWS_NOTICE), ""),),
    **{
        (session, "notify"): (Helper(("notify-send", "--app-name=Plugway", "--"), "libnotify-bin"),)
        for session in ("wayland", "x11")
    },
    ("macos", "notify"): (
        Helper(("osascript", *(part for line in _MAC_NOTICE for part in ("-e", line))), ""),
    ),
}


def session_of(platform: str, variables: Mapping[str, str]) -> Session | None:
    """What kind of desktop the gateway runs in; None if it has none."""
    if platform == "darwin":
        return "macos"
    if platform == "win32":
        return "windows"
    if variables.get("WAYLAND_DISPLAY"):
        return "wayland"
    return "x11" if variables.get("DISPLAY") else None


def find(action: Action) -> Helper:
    """The program for an action. Raises `CommandFailed` with what is missing."""
    session = session_of(sys.platform, os.environ)
    if session is None:
        raise CommandFailed(
            "the gateway runs without a desktop: neither WAYLAND_DISPLAY nor DISPLAY is set; "
            "start it from the desktop's session"
        )
    helpers = HELPERS[session, action]
    for helper in helpers:
        if shutil.which(helper.command[0]):
            return helper
    programs = " or ".join(f"`{helper.command[0]}`" for helper in helpers)
    package = helpers[0].package
    advice = f"; on Debian and Ubuntu: `sudo apt install {package}`" if package else ""
    raise CommandFailed(f"{programs} is not installed{advice}")


async def clipboard() -> str:
    """The text in the clipboard. Raises `CommandFailed`."""
    helper = await anyio.to_thread.run_sync(find, "read")
    try:
        found = await output_of(helper.command, MOST_TEXT)
    except CommandFailed as error:
        if any(words in str(error) for words in _EMPTY):
            return ""
        raise
    return found.decode(errors="replace")


async def set_clipboard(text: str) -> None:
    """Replace the text in the clipboard. Raises `CommandFailed`."""
    helper = await anyio.to_thread.run_sync(find, "write")
    await give(helper.command, text.encode())


async def notify(title: str, message: str) -> None:
    """Show a notification. Raises `CommandFailed`."""
    helper = await anyio.to_thread.run_sync(find, "notify")
    if helper.command[0] == _POWERSHELL[0]:
        await give(helper.command, f"{title}\0{message}".encode())
    elif helper.command[0] == "notify-send":  # the body may have markup, which is not meant
        await output_of((*helper.command, title, html.escape(message, quote=False)), 10_000)
    else:
        await output_of((*helper.command, title, message), 10_000)


async def screenshot() -> tuple[str, str]:
    """A picture of the screen: its media type, and its bytes in base64. Raises `CommandFailed`."""
    helper = await anyio.to_thread.run_sync(find, "screenshot")
    folder = await anyio.to_thread.run_sync(tempfile.mkdtemp)
    try:
        file = Path(folder) / "screen.jpg"
        command = [part.replace(FILE, str(file)) for part in helper.command]
        if helper.command[0] == _POWERSHELL[0]:
            await give(command, str(file).encode())
        else:
            await output_of(command, 10_000)
        return await anyio.to_thread.run_sync(_picture, file)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(shutil.rmtree, folder, True)


def _picture(file: Path) -> tuple[str, str]:
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST_IMAGE + 1)
    except OSError:
        raise CommandFailed("no picture was written; the desktop may not allow it") from None
    if len(data) > MOST_IMAGE:
        raise CommandFailed(f"the picture has more than {MOST_IMAGE:,} bytes")
    for start, kind in ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG", "image/png")):
        if data.startswith(start):
            return kind, base64.b64encode(data).decode()
    raise CommandFailed("the program wrote no JPEG or PNG picture")
