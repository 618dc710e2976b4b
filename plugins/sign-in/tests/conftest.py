"""A database with the tables of `sign-in`, and a clock that tests turn."""

import pytest
from sign_in_book import Clock, opened


@pytest.fixture
async def book(tmp_path):
    async with opened(tmp_path / "store.db", Clock()) as book:
        yield book
