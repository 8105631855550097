"""How the site's own methods read what they are asked."""

import pytest

from gateway.message import Call, Refusal, Status
from gateway.objects.answers import Request, read
from policy.model import Action, Principal
from registry.names import Name


class Asked(Request, frozen=True):
    """A question."""

    name: str = ""
    limit: int = 100


def call(query: bytes) -> Call:
    principal = Principal("user:ann", "user")
    return Call(Action.CALL, Name("localhost/$site/x"), principal, 0.0, query=query)


@pytest.mark.parametrize(
    ("query", "payload", "asked"),
    [
        (b"", b"", Asked()),
        (b"name=a%2Fb&limit=7", b"", Asked("a/b", 7)),
        (b"name=%C3%A9&name=", b"", Asked("")),
        (b"name=query", b'{"name": "payload"}', Asked("payload")),
    ],
)
async def test_what_is_asked_is_in_the_payload_or_else_in_the_query(query, payload, asked):
    assert await read(call(query), payload, Asked) == asked


@pytest.mark.parametrize("query", [b"limit=many", b"nam=a", b"&".join([b"a=b"] * 33), b"\xff=1"])
async def test_a_query_that_cannot_be_meant_is_refused(query):
    with pytest.raises(Refusal, match="the query: ") as refused:
        await read(call(query), b"", Asked)
    assert refused.value.status is Status.BAD_REQUEST
