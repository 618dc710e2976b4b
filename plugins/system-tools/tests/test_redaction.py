"""Command lines that people have, with the part that may be shown."""

import pytest

from plugway_log import register_secret
from plugway_system_tools._redaction import command_line

KEY = "AbCdEf0123456789GhIjKl"
SHOWN = [
    ("python -m http.server 8000", "python -m http.server 8000"),
    (
        "/usr/bin/node /srv/app/server.js --port 3000",
        "/usr/bin/node /srv/app/server.js --port 3000",
    ),
    ("java -Xmx512m -jar app.jar", "java -Xmx512m -jar app.jar"),
    ("mysql -uroot -pHunter2 shop", "mysql -uroot -p*** shop"),
    ("mysql -p Hunter2", "mysql -p ***"),
    ("mysqldump --password=Hunter2 --user=me shop", "mysqldump --password=*** --user=*** shop"),
    ("vault --token Hunter2 read", "vault --token *** read"),
    ("redis-cli -a Hunter2 ping", "redis-cli -a *** ping"),
    ("env PGPASSWORD=Hunter2 psql", "env PGPASSWORD=*** psql"),
    ("server --api-key Hunter2", "server --api-key ***"),
    ("server --apiKey=Hunter2", "server --apiKey=***"),
    ("server -Dspring.datasource.password=Hunter2", "server -Dspring.datasource.password=***"),
    ("docker run -e SECRET=Hunter2 image", "docker run -e *** image"),
    ("git clone https://me:Hunter2@host/x.git", "git clone https://***@host/x.git"),
    ("git clone https://Hunter2@host/x.git", "git clone https://***@host/x.git"),
    ("curl https://host/a?sig=Hunter2&x=1", "curl https://host/a?***"),
    (f"tool {KEY}", "tool ***"),
    ("tool sk-Hunter2Hunter2", "tool sk-***"),
    (f"tool --data={KEY}", "tool --data=***"),
    ("tool registered-value-Hunter2x", "tool ***"),
]


@pytest.mark.parametrize(("line", "shown"), SHOWN, ids=[line for line, _ in SHOWN])
def test_values_that_may_be_secret_are_hidden(line, shown):
    register_secret("registered-value-Hunter2x")
    assert command_line(line.split()) == shown


def test_arguments_with_spaces_are_hidden_and_programs_with_spaces_are_not():
    arguments = [
        "/opt/My App/run",
        "-c",
        "echo Hunter2 | login",
        "-H",
        "Authorization: Bearer x",
        "",
    ]
    assert command_line(arguments) == '/opt/My App/run -c *** -H *** ""'
    assert command_line(["daemon --password=Hunter2: idle"]) == "daemon --password=*** idle"


def test_a_long_line_is_cut_and_nothing_is_nothing():
    line = command_line(["x", *["word"] * 10_000])
    assert len(line) == 300
    assert line.endswith("…")
    assert command_line([]) == ""
