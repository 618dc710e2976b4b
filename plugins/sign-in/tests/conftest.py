"""A database with the tables of `sign-in`: SQLite and PostgreSQL, where a test does not choose."""

import pytest
from sign_in_book import Clock, opened


@pytest.fixture
async def book(database):
    async with opened(database, Clock()) as book:
        yield book
