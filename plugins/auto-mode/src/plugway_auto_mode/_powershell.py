"""PowerShell, judged without a parser: a few plain reads, and plainly harmful commands."""

from __future__ import annotations

import re
from typing import Final

from plugway_auto_mode._finding import Finding, Place
from plugway_auto_mode._rules import Rules, secrets

MOST: Final = 65_536
_READS: Final = re.compile(
    r"(?i)(?:get-(?:childitem|location|date|process|service|host|alias|help|item|itemproperty|module|verb)"
    r"|measure-object|select-(?:object|string)|sort-object|format-(?:table|list)|test-path|group-object"
    r"|where\.exe|pwd|hostname|whoami|write-output)"
)
_WORD: Final = re.compile(r"[\w.,*=-]+|\"[\w .,*=-]*\"|'[\w .,*=-]*'")
_HARM: Final = tuple(
    (re.compile("(?is)" + pattern), reason)
    for pattern, reason in (
        (
            r"\b(?:remove-item|ri|rm|rmdir|rd|del|erase)\b[^|;\n]*(?:-r(?:e\w*)?\b|/s\b|[A-Z]:[\\/]|~|\$(?:home|env:)|\.\.|\s/)",
            "deletes files",
        ),
        (
            r"\b(?:invoke-expression|iex|invoke-command|icm)\b|\bscriptblock\]::create|\.invoke\(",
            "runs text that is computed first",
        ),
        (r"-e(?:n|nc|nco\w*)?\s+[A-Za-z0-9+/=]{12,}|frombase64string", "hides what it runs"),
        (
            r"\b(?:iwr|irm|invoke-webrequest|invoke-restmethod|curl|wget|start-bitstransfer)\b[^;\n]*(?:\||-method\s+\W?(?:post|put)|-infile|-body|-outfile\s+[A-Z]:|-usedefaultcred)",
            "sends data or runs what it fetches",
        ),
        (
            r"downloadstring|downloadfile|uploadstring|uploadfile|net\.webclient|net\.sockets",
            "connects to another machine",
        ),
        (
            r"-verb\s+runas|\bset-executionpolicy\b|-executionpolicy\s+\w*bypass|\bset-mppreference\b|\badd-mppreference\b",
            "weakens the machine's security",
        ),
        (
            r"\b(?:format-volume|clear-disk|initialize-disk|remove-partition|stop-computer|restart-computer|stop-service|set-service|new-service|register-scheduledtask|schtasks|bcdedit|vssadmin|wevtutil|reg(?:\.exe)?\s+(?:add|delete)|set-acl|icacls|takeown|net\s+(?:user|localgroup)|sc(?:\.exe)?\s+\w+|disable-\w+|uninstall-\w+|clear-eventlog|new-localuser|add-localgroupmember)\b",
            "changes the system",
        ),
        (r"\b(?:hklm|hkcu|hkey_\w+)[:\\]", "changes the registry"),
        (
            r"\.ssh\b|\.aws\b|get-credential|convertfrom-securestring|cmdkey|vaultcmd|lsass|\bsam\b.*system32|get-childitem\s+env:|\b(?:dir|ls|gci)\s+env:|\$env:\w*(?:token|secret|passw|key)|\.env\b|consolehost_history",
            "reads credentials",
        ),
        (
            r"\b(?:set-content|add-content|out-file|copy-item|move-item|new-item)\b[^|;\n]*(?:[A-Z]:[\\/](?:windows|users|program)|\$(?:home|profile|env:)|~[\\/]|\.\.[\\/])",
            "writes outside the working folder",
        ),
        (
            r"\bgit\s+push\b[^|;\n]*(?:\s-f\b|--force|--mirror|\s\+)|\bgit\s+(?:reset\s+--hard|clean\s+-\w*f)",
            "destroys history",
        ),
        (
            r"[`^]\w[`^]?\w|\[char\]\s*\d|-join\s*\(|-f\s*['\"]\w{1,4}['\"]\s*,|&\s*\(\s*['\"]",
            "hides what it runs",
        ),
        (r"\|\s*(?:powershell|pwsh|cmd|bash|sh)\b", "pipes text into a shell"),
    )
)


def review_powershell(command: str, place: Place, rules: Rules) -> Finding:
    """The verdict on a PowerShell command."""
    if len(command) > MOST:
        return Finding("undecided", "the command is too long to check")
    if not command.isascii() and re.search(r"[^\x00-\x7f]", re.sub(r"['\"].*?['\"]", "", command)):
        return Finding("harmful", "has look-alike letters")
    for pattern, reason in _HARM:
        if pattern.search(command):
            return Finding("harmful", reason)
    words = tuple(command.split())
    for one in rules.harmful:
        if tuple(words[: len(one.words)]) == one.words:
            return Finding("harmful", "your configuration marks it as harmful")
    stages = [stage.strip() for stage in command.split("|")]
    if all(_only_reads(stage) for stage in stages):
        return Finding("harmless", "only reads")
    return Finding("undecided", "only plain PowerShell commands are judged")


def _only_reads(stage: str) -> bool:
    name, _, rest = stage.partition(" ")
    if re.search(r"[\r\n]|\.\.|(?i:-(?:computername|cn)\b)", stage) or secrets().in_text(rest):
        return False
    if rest and name.casefold() in ("hostname", "whoami", "pwd"):
        return False
    plain = all(not left.strip() for left in _WORD.split(rest))
    return plain and _READS.fullmatch(name) is not None
