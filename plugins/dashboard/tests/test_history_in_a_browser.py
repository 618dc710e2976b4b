"""The page of one of two gateways with one database, in Chromium."""

import pytest
from browsing import NEEDS, OPEN, opened, post, says
from keeping import found, stack

from plugway.testing import gateway

pytestmark = NEEDS


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
async def test_the_page_finds_what_the_other_gateway_served_and_says_so(place, playwright):
    async with (
        gateway(stack(place), port=8001) as one,
        gateway(stack(place), port=8002) as other,
    ):
        await post(one, "echo/first")
        await post(other, "echo/second")
        await post(one, "echo/third")
        await found(other)  # writes what has ended
        async with opened(playwright, one) as page:
            await says(page, "#past", "Conversations (2)")
            await says(page, "#by-caller tr", "3")
            await page.get_by_role("button", name="Show older ones").click()
            await says(page, "#past", "Conversations (3)")
            rows = await page.locator("#kept > li").all_inner_texts()
            models = [text for row in rows for text in row.split() if text.startswith("echo/")]
            assert list(dict.fromkeys(models)) == ["echo/third", "echo/second", "echo/first"]
            await page.get_by_label("Filter").fill("gateway: :8002")
            await says(page, "#past", "Conversations (1)")
            await says(page, "#kept > li", "echo/second")
            await page.evaluate(OPEN)
            await says(page, "#kept pre", "It was served by the gateway ")
            await page.get_by_label("Filter").fill("gateway: :8001")
            await says(page, "#past", "Conversations (2)")
