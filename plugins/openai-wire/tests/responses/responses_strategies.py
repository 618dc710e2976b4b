"""Any answer of the Responses API."""

import orjson
from hypothesis import strategies as st
from responses_answers import call, message, reasoning, response

TEXT = st.text(max_size=20)
JSON = st.dictionaries(
    st.text("abc", min_size=1, max_size=4), st.integers(-9, 99) | TEXT, max_size=3
)
ITEMS = st.one_of(
    st.builds(lambda parts: message(*parts), st.lists(TEXT.filter(bool), min_size=1, max_size=3)),
    st.builds(lambda a: call("f", orjson.dumps(a).decode()), JSON),
    st.builds(lambda parts: reasoning(*parts), st.lists(TEXT, max_size=3)),
)
ANSWERS = st.lists(ITEMS, min_size=1, max_size=5).map(
    lambda items: response(*({**item, "id": f"{item['id']}{n}"} for n, item in enumerate(items)))
)
