"""An index of what a test applies."""

from collections.abc import Iterable

from policy.access.index import AccessIndex, Deciding
from policy.language import ManifestDoc


def trial(authority: str, documents: Iterable[ManifestDoc]) -> AccessIndex:
    """Return what decides with these manifests."""
    index = AccessIndex(authority)
    for document in documents:
        if isinstance(document.spec, Deciding):
            index.put(document.kind, document.name, document.spec)
    return index
