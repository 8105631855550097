"""A page of what a fast form finds: only what it shows is read."""

from collections.abc import Collection, Mapping
from heapq import nsmallest

import msgspec

from registry.search.columns import Columns
from registry.search.forms import Exists, Form, holds, values_at


def paged(form: Form) -> Form:
    """Return a form by which each document that is found has one result: pages are slices."""
    if not form.projection:
        return form
    return form._replace(tests=(*form.tests, Exists(form.projection)))


def page_of(
    columns: Columns,
    form: Form,
    hidden: Collection[str],
    own: Mapping[str, bytes],
    offset: int,
    limit: int,
    size: int,
) -> tuple[bytes, int]:
    """Return results as a JSON array, and where the next page begins: 0 for nowhere.

    ``hidden`` are ids that are passed over; ``own`` are texts that are looked at in their place.
    A page ends after ``limit`` results or ``size`` bytes, whichever is sooner, but not before the
    first. The form is one of ``paged``; raises KeyError when a column of it is not there.
    """
    found = columns.matching(form)
    if hidden or own:
        found = set(found).difference(hidden, own)
        for id_, text in own.items():
            document = columns.decode(text)
            if all(holds(test, document) for test in form.tests):
                found.add(id_)
    ids = nsmallest(offset + limit + 1, found)[offset:]
    parts: list[bytes] = []
    length = 2
    for id_ in ids[:limit]:
        text = own.get(id_) or columns.texts[id_]
        if form.projection:
            value = next(values_at(columns.decode(text), form.projection))
            text = msgspec.json.encode(value)
        length += len(text) + 1
        if length > size and parts:
            break
        parts.append(text)
    body = b"[" + b",".join(parts) + b"]"
    return body, offset + len(parts) if len(parts) < len(ids) else 0
