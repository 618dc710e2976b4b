"""Databases: what is only SQL runs with each kind, whole gateways with PostgreSQL if slow."""

import pytest
from sign_in_book import Clock, opened


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request, tmp_path):
    """Options of `store` for an empty database."""
    if request.param == "sqlite":
        return {"url": str(tmp_path / "store.db")}
    return request.getfixturevalue("postgres").database()


@pytest.fixture(params=["sqlite", "postgresql"])
def each_database(request, tmp_path):
    if request.param == "sqlite":
        return {"url": str(tmp_path / "store.db")}
    return request.getfixturevalue("postgres").database()


@pytest.fixture
async def book(each_database):
    async with opened(each_database, Clock()) as book:
        yield book
