"""What a change of the directory says to one reader (W3C WoT Discovery 7.3.2.2)."""

from typing import Any

from gateway.directory.feed import CREATED, DELETED, State, ThingChange
from gateway.directory.views import Views
from gateway.site import Site
from policy.model import Action, Principal


class Telling:
    """Tells changes to those who may describe what changed."""

    def __init__(self, site: Site, views: Views) -> None:
        self._access = site.plane.access
        self._views = views

    def data(
        self, change: ThingChange, principal: Principal, *, diff: bool
    ) -> dict[str, Any] | None:
        """Return the data of an event: the id, with ``diff`` what changed; None: not for him."""
        state = change.after or change.before
        owner = "" if state is None else state.owner
        if not self._access.check(principal, Action.DESCRIBE, change.name, owner).allowed:
            return None
        told: dict[str, Any] = {"id": change.id}
        if not diff or change.type == DELETED or change.after is None:
            return told
        after = self._view(change.after, principal)
        if change.type == CREATED or change.before is None:
            return after
        return {**difference(self._view(change.before, principal), after), **told}

    def _view(self, state: State, principal: Principal) -> dict[str, Any]:
        return self._views.shown(state.obj, state.record, principal)


def difference(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the merge patch that makes ``new`` of ``old`` (RFC 7396)."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            if inner := difference(before, value):
                patch[key] = inner
        elif key not in old or before != value:
            patch[key] = value
    return patch
