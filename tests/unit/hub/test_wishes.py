from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.channels import Key
from hub.messages import Channel
from hub.wishes import Wrong, named

ID = "01HQNZ2G5XKJ8P7M9N6V3R4T5W"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (f"execution:{ID}", (Channel.EXECUTION, ID)),
        ("workflow:*", (Channel.WORKFLOW, "*")),
        (f"task:{ID}", (Channel.TASK, ID)),
        ("task:assignee:Ada: Countess", (Channel.TASK, "assignee:Ada: Countess")),
        ("webhook:*", (Channel.WEBHOOK, "*")),
        ("events", (Channel.EVENTS, "*")),
        ("system", (Channel.SYSTEM, "*")),
    ],
)
def test_a_channel_is_named_as_messages_name_it(name: str, expected: tuple[Channel, str]) -> None:
    assert named(name) == expected
    assert Key("O", *expected).name == name


@pytest.mark.parametrize(
    "name",
    ["", ":", "comet", "comet:1", "execution", "execution:", "events:", "system:*", "task:assignee:", f"replay:{ID}"],
)
def test_what_is_no_name_of_a_channel_is_refused(name: str) -> None:
    with pytest.raises(Wrong) as raised:
        named(name)
    assert raised.value.problem.message


@given(st.text() | st.builds("{}:{}".format, st.sampled_from([str(channel) for channel in Channel]), st.text()))
def test_no_text_does_anything_else(name: str) -> None:
    try:
        channel, id = named(name)
    except Wrong:
        return
    assert Key("O", channel, id).name == name
