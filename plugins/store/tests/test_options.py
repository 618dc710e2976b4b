"""The addresses and passwords of the store."""

import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest
from pydantic import ValidationError

from plugway.config.config import parse_config
from plugway.http.snapshot import build_snapshot
from plugway.types.errors import ConfigError
from plugway_store import StoreOptions


def test_without_options_the_database_is_a_file_in_the_users_data_folder():
    folder = platformdirs.user_data_path("plugway", appauthor=False)
    assert StoreOptions().path == folder / "store.db"
    assert StoreOptions().database.drivername == "sqlite"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/var/x.db", "/var/x.db"),
        ("sqlite:////var/x.db", "/var/x.db"),
        ("~/x.db", Path("~/x.db").expanduser().as_posix()),
    ],
)
def test_a_path_is_a_file(url, path):
    assert StoreOptions(url=url).path.as_posix() == path


def test_a_server_is_reached_with_tls_as_it_says():
    options = StoreOptions(url="postgres://ann@db:1/x?sslmode=verify-full", password="a b/c@d")
    url = options.database
    assert url.drivername == "postgresql+asyncpg"
    assert (url.username, url.password, url.host, url.port) == ("ann", "a b/c@d", "db", 1)
    assert dict(url.query) == {}
    assert options.tls().check_hostname
    assert "a b" not in options.place


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": ""}, "empty"),
        ({"url": "a\0b"}, "NUL"),
        ({"url": "mysql://x/y"}, "unknown database 'mysql'"),
        ({"url": "sqlite://x"}, "write the path of the SQLite file"),
        ({"url": "postgresql://ann:secret@db/x"}, "use the option `password`"),
        ({"url": "postgresql://ann@db"}, "names no database"),
        ({"url": "postgresql://ann@db:port/x"}, "is not valid"),
        ({"url": "postgresql://ann@db/x?sslmode=on"}, "unknown `sslmode`"),
        ({"url": "postgresql://ann@db/x?timeout=1"}, "unknown parameter 'timeout'"),
        ({"url": "postgresql://ann@db/x?sslrootcert=/no/such"}, "`sslrootcert` does not exist"),
        ({"url": "data/x.db"}, "write the whole path"),
        ({"url": "sqlite:///x.db"}, "write the whole path"),
        ({"redis": "redis://:secret@h/0"}, "use the option `redis_password`"),
        ({"redis": "http://h"}, "`redis` is not valid"),
        ({"redis": "redis://"}, "`redis` is not valid"),
        ({"redis": "redis://h:99999/0"}, "`redis` is not valid"),
        ({"busy_seconds": 0}, "greater than 0"),
        ({"connections": 0}, "greater than or equal to 1"),
    ],
)
def test_a_wrong_address_is_refused_with_the_fix_and_without_a_password(options, said):
    with pytest.raises(ValidationError, match=said) as error:
        StoreOptions(**options)
    assert "secret" not in str(error.value)


def problems(text):
    with pytest.raises(ConfigError) as error:
        build_snapshot(parse_config(text, "test"))
    return str(error.value)


def test_a_password_without_its_server_is_a_mistake_in_the_configuration(monkeypatch):
    monkeypatch.setenv("DB_PASSWORD", "x")
    text = "plugins:\n  - use: store\n    options: {password: {$env: DB_PASSWORD}}\n  - use: echo"
    assert "is for PostgreSQL: an SQLite file has none" in problems(text)
    text = text.replace("password:", "redis_password:")
    assert "needs `redis`, which is not set" in problems(text)


def test_a_password_in_plain_text_is_refused():
    said = problems("plugins:\n  - use: store\n    options: {password: secret-1}\n  - use: echo")
    assert "a secret is in plain text" in said
    assert "secret-1" not in said


def test_a_gateway_without_people_imports_no_database():
    """The default stack, and the names of all commands."""
    code = (
        "import sys\n"
        "from plugway.cli.config import stack_config\n"
        "from plugway.cli.plugins import installed_command_names\n"
        "from plugway.http.snapshot import build_snapshot\n"
        "assert 'users' in installed_command_names()\n"
        "build_snapshot(stack_config())\n"
        "heavy = {'sqlalchemy', 'alembic', 'asyncpg', 'redis', 'limits', 'argon2'}\n"
        "found = heavy & sys.modules.keys() | {m for m in sys.modules if 'plugway_store' in m}\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
