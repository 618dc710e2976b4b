"""People of `accounts` in the log: the person, and the id of the key."""

from __future__ import annotations

import pytest
from accounts_kit import serving
from logs import audit, files, run, until

pytestmark = pytest.mark.anyio


async def test_a_record_names_the_person_and_the_id_of_the_key_never_the_key(tmp_path, database):
    async with serving(database, audit(tmp_path)) as team:
        await team.people.add("ann")
        made = await team.people.issue("ann")
        assert (await team.ask(made.secret)).status_code == 200
        assert (await team.ask(team.running.token)).status_code == 200
        records = await until(tmp_path, 2)
    assert [(r["caller"], r.get("key")) for r in records] == [("ann", made.id), ("owner", None)]
    assert made.secret.encode() not in files(tmp_path)[0].read_bytes()
    code, out = run("show", "--folder", tmp_path, "--person", "ann", "--json")
    assert code == 0
    assert len(out.splitlines()) == 1
