"""``$site/registry/warnings``: what the shapes of good descriptions found of an object."""

from gateway.directory.shapes import ShapeChecks
from gateway.message import Call, Refusal, Status
from gateway.objects.answers import Request, answer, name_of, read, require
from gateway.objects.local import Handler, Result
from gateway.site import Site
from gateway.view import Route
from policy.model import Action
from registry.model import Kind
from registry.names import Name


class Which(Request, frozen=True):
    """An object."""

    name: str


class WarningsObject:
    """The handler."""

    def __init__(self, site: Site, checks: ShapeChecks) -> None:
        self._site = site
        self._checks = checks

    def handlers(self) -> dict[str, Handler]:
        """Return the methods by name."""
        return {"warnings": self.warnings}

    async def warnings(self, call: Call, _: Route, payload: bytes) -> Result:
        """Say what was found of an object that the caller may describe, its hidden members not."""
        asked = await read(call, payload, Which)
        name = name_of(self._site, asked.name)
        require(self._site, call, Action.DESCRIBE, name, self._site.catalog.owner_of(name))
        record = self._site.catalog.names.get(name)
        if record is None or record.kind is not Kind.OBJECT:
            raise Refusal(Status.NOT_FOUND, f"{name} is no object")

        def seen(member: Name) -> bool:
            return self._site.allowed(call.principal, Action.DESCRIBE, member)

        pending = self._checks.of(name).pending
        items = self._checks.shown(name, seen)
        return answer({"name": name, "pending": pending, "items": items})
