import pytest


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """Nobody's real login is ever read."""
    monkeypatch.setenv("CODEX_HOME", str(tmp_path / "codex"))
    monkeypatch.setenv("HOME", str(tmp_path))
