"""First uses of a running site: its controllers, plug-ins, and what follows a decision."""

import asyncio
from collections.abc import Callable
from functools import partial

from adapters.control.metrics import Gauge
from adapters.main.plugins import Plugins
from gateway.first_use.controllers import Controllers, SiteRules
from gateway.first_use.uses import Clocks, FirstUse
from gateway.objects.first_use import FirstUseObject
from gateway.objects.local import LocalProvider
from gateway.objects.serve import serve_object
from gateway.settings import Config
from gateway.site import Site
from policy.model import Principal


class FirstUses:
    """Joins first use to a site. ``principal_of`` returns who an owner is now."""

    def __init__(
        self,
        site: Site,
        local: LocalProvider,
        config: Config,
        principal_of: Callable[[str], Principal | None],
    ) -> None:
        self._site = site
        self._lasting = -1
        rules = SiteRules(site)
        plugins = Plugins(config.first_use.plugins)
        controllers = Controllers(site, principal_of, plugins.ask)
        clocks = Clocks(asyncio.get_running_loop().time, site.time)
        self.first_use = FirstUse(site.plane.access, rules, controllers, clocks, site.redecide)
        self.tick = self.first_use.tick
        self.close = self.first_use.close
        self.first_use.woke = site.look_at_clock
        site.plane.first_use = self.first_use
        site.watchers.credential.append(self.first_use.end_of)
        site.watchers.access.insert(0, self._look)
        handlers = FirstUseObject(site, self.first_use, rules, controllers).handlers()
        serve_object(site, local, "policy", handlers)

    def gauges(self) -> list[Gauge]:
        """What metrics show of first uses."""
        return [
            Gauge(
                f"hilum_first_use_{name}", text, partial(_of, self.first_use, name), counts=counts
            )
            for name, text, counts in _SHOWN
        ]

    def _look(self) -> None:
        """Policies or the environment may have changed."""
        lasting = self._site.dynamic.lasting
        if lasting != self._lasting:
            self._lasting = lasting
            self.first_use.void()
        self.first_use.look_at_environment()


_SHOWN = (
    ("waiting", "Uses that wait for a policy controller", False),
    ("kept", "Answers of policy controllers that are kept", False),
    ("asked", "Questions to policy controllers", True),
    ("held", "Uses that waited for a policy controller", True),
    ("failed", "Questions that policy controllers did not answer", True),
    ("refused", "Uses that there was no room to hold", True),
)


def _of(first_use: FirstUse, name: str) -> dict[str, float]:
    return {"": getattr(first_use, name)}
