"""Puts the site's own objects in place: their Routes and their handlers."""

from collections.abc import Callable, Mapping

from gateway.channels import Channels
from gateway.deliveries import Deliveries
from gateway.objects.accounts import AccountsObject
from gateway.objects.answers import CheckEndpoint
from gateway.objects.channel import ChannelObject
from gateway.objects.describe import DescribeObject
from gateway.objects.listing import ListObject
from gateway.objects.local import Handler, LocalProvider
from gateway.objects.passwords import PasswordObject
from gateway.objects.policy import PolicyObject
from gateway.objects.policy_questions import PolicyQuestions
from gateway.objects.registry import RegistryObject, ServiceKey
from gateway.objects.token import TokenObject
from gateway.ports import EventLog
from gateway.site import Site
from gateway.view import Route
from policy.model import Action
from registry.model import Kind, Method
from registry.names import Name

SAFE = frozenset(
    {
        "registry/list",
        "registry/registrations",
        "registry/introspect",
        "registry/things",
        "registry/thing",
        "registry/changes",
        "registry/query",
        "registry/jsonpath",
        "registry/xpath",
        "registry/secrets",
        "registry/ontologies",
        "registry/warnings",
        "registry/discover",
        "registry/match",
        "registry/share",
        "registry/remotes",
        "registry/remote-things",
        "registry/rd-endpoints",
        "registry/rd-resources",
        "policy/get",
        "policy/explain",
        "policy/test",
        "policy/shadow",
        "policy/schema",
        "policy/decide-schema",
        "token/list",
        "identity/list",
        "accounts/list",
        "channel/history",
        "channel/deadletters",
    }
)
"""Methods that change nothing: they may be called with GET."""


def serve_objects(
    site: Site,
    local: LocalProvider,
    channels: Channels,
    events: EventLog,
    deliveries: Deliveries,
    *,
    check_endpoint: CheckEndpoint,
    service_key: ServiceKey,
    random: Callable[[int], bytes],
) -> None:
    """Give the site its own objects."""
    channel = ChannelObject(site, channels, events, deliveries)
    describe = DescribeObject(site)
    objects: dict[str, dict[str, Handler]] = {
        "registry": RegistryObject(site, check_endpoint, service_key).handlers()
        | describe.handlers()
        | ListObject(site).handlers(),
        "policy": PolicyObject(site, check_endpoint).handlers() | PolicyQuestions(site).handlers(),
        "token": TokenObject(site, random).handlers(),
        "channel": channel.handlers(),
        "identity": PasswordObject(site, random).handlers(),
        "accounts": AccountsObject(site, site.accounts).handlers(),
    }
    for obj, handlers in objects.items():
        serve_object(site, local, obj, handlers)
    local.serve_action(Action.PUBLISH, channel.publish)
    local.serve_action(Action.SUBSCRIBE, channel.last)
    local.serve_action(Action.DESCRIBE, describe.describe)


def serve_object(
    site: Site, local: LocalProvider, obj: str, handlers: Mapping[str, Handler]
) -> None:
    """Give one of the site's own objects methods."""
    routes = []
    for method, handler in handlers.items():
        name = Name(f"{site.authority}/$site/{obj}/{method}")
        local.serve(name, handler)
        routes.append(_route(site, name, safe=f"{obj}/{method}" in SAFE))
    site.own(routes)


def _route(site: Site, name: Name, *, safe: bool) -> Route:
    route = Route(name, Kind.METHOD, "", site.view.meter_of("$site"))
    route.method = Method(safe=safe)
    return route
