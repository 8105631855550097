"""What all that registers objects asks first: on every name and every endpoint (design 4)."""

from collections.abc import Iterable, Iterator

from gateway.message import Call, Refusal, Status
from gateway.objects.answers import CheckEndpoint, require
from gateway.site import Site
from policy.model import Action
from registry.catalog import Catalog
from registry.model import EventChannel, Method, RegistrationId, VirtualObject
from registry.names import Name
from registry.urls import parse_url


async def admit(
    site: Site,
    call: Call,
    objects: Iterable[VirtualObject],
    action: Action,
    check_endpoint: CheckEndpoint,
) -> None:
    """Decide on every name and every endpoint, before anything is planned; raises Refusal."""
    checked: set[tuple[str, str, int]] = set()
    for obj in objects:
        name = Name(obj.name)
        require(site, call, action, name, site.catalog.owner_of(name))
        for member, definition in obj.members():
            for url in urls_of(definition):
                require(site, call, Action.BIND, member, endpoint=url)
                origin = parse_url(url, template=True)[:3]
                if origin not in checked:  # where it leads is all that is looked at
                    checked.add(origin)
                    why = await check_endpoint(url, call.peer)
                    if why is not None:
                        detail = f"the endpoint {url} may not be bound: {why}"
                        raise Refusal(Status.DENIED, detail)


def refuse_clashes(
    site: Site,
    call: Call,
    catalog: Catalog,
    owner: str,
    id_: RegistrationId,
    objects: Iterable[VirtualObject],
) -> None:
    """Refuse names that are somebody else's, unless policy lets them be bound too."""
    for clash in catalog.clashes(owner, objects, by=id_):
        known = site.allowed(call.principal, Action.DESCRIBE, clash.name)
        why = clash.why if known else f"{clash.name} is taken"
        if not clash.owner or not site.allowed(call.principal, Action.BIND, clash.name):
            detail = f"{why}; choose another name, or ask an operator to let you bind it"
            raise Refusal(Status.CONFLICT, detail, extra={"name": clash.name})


def urls_of(definition: Method | EventChannel) -> Iterator[str]:
    """Return where a method's calls go, or a channel's events come from."""
    if isinstance(definition, Method):
        return (endpoint.url for endpoint in definition.endpoints)
    return iter(definition.sources)
