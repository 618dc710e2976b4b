"""People of `accounts`: limits by group, and conversations that are kept apart."""

from __future__ import annotations

import pytest
from accounts_kit import serving

from plugway.testing import build_plugin
from plugway_budget_tree import BudgetTree

pytestmark = pytest.mark.anyio
SESSION = {"x-claude-code-session-id": "s-1"}


async def test_members_of_a_group_have_its_limits_each_in_conversations_of_their_own(database):
    groups = {"interns": {"calls": 2}, "trial-*": {"calls": 1}}
    plugin = build_plugin(BudgetTree, "budget-tree", default={"calls": 3}, groups=groups)
    async with serving(database, plugin) as team:
        for name in ("interns", "trial-1"):
            await team.people.add_group(name)
        await team.people.add("ann", groups=["interns"])
        await team.people.add("bob")
        await team.people.add("eve", groups=["interns", "trial-1"])
        found = {}
        for name in ("ann", "bob", "eve"):
            made = await team.people.issue(name)
            more = SESSION | {"plugway-budget": "100 calls"}
            found[name] = [
                (await team.ask(made.secret, headers=more)).status_code for _ in range(4)
            ]
    assert found == {
        "ann": [200, 200, 402, 402],
        "bob": [200, 200, 200, 402],
        "eve": [200, 402, 402, 402],
    }
