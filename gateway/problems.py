"""Problem documents (RFC 9457), the same on every HTTP listener."""

import json
from collections.abc import Mapping

from gateway.message import Refusal

MEDIA_TYPE = "application/problem+json"


def problem(
    code: int, title: str, slug: str, detail: str, extra: Mapping[str, object] | None = None
) -> bytes:
    """Return a problem document; ``extra`` are further members."""
    document = {
        **(extra or {}),
        "type": f"urn:hilum:problem:{slug}",
        "title": title,
        "status": code,
        "detail": detail,
    }
    return json.dumps(document, default=str).encode() + b"\n"


def document_of(refusal: Refusal) -> bytes:
    """Return the problem document of a refusal."""
    wire, slug = refusal.status.wire, refusal.status.slug
    return problem(wire.http, wire.title, slug, refusal.detail, refusal.extra)
