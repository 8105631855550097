"""JSON merge patches of the text that was submitted (RFC 7396)."""

import json
from typing import Any

from registry import json_text
from registry.documents import MAX_BYTES
from registry.problems import InvalidDocument, read_text
from registry.things.problems import InvalidThing, Problem


def merge(target: Any, patch: Any) -> Any:
    """Return a value as a merge patch changes it; neither of the two is changed (section 2)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def patched(text: str, patch: bytes, *, limit: int = MAX_BYTES) -> bytes:
    """Return a submitted description as a patch changes it, to be read again.

    ``limit`` is in bytes. Raises InvalidThing for a patch that is no JSON object.
    """
    try:
        patch_text = read_text(patch, limit)
        json_text.check(patch_text)
    except InvalidDocument as error:
        raise InvalidThing(
            Problem("", f"line {each.line}, column {each.column}: {each.message}", each.hint)
            for each in error.problems
        ) from None
    change = json.loads(patch_text)
    if not isinstance(change, dict):
        raise InvalidThing([Problem("", "a merge patch of a description is a JSON object")])
    return json.dumps(merge(json.loads(text), change), ensure_ascii=False, indent=2).encode()
