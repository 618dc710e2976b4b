import pytest


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(autouse=True)
def state_folder(tmp_path, monkeypatch):
    """Choices of a test stay in its own folder."""
    monkeypatch.setattr("platformdirs.user_state_path", lambda *a, **k: tmp_path / "state")
    return tmp_path / "state"
