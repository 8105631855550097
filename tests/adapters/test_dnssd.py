"""DNS-SD introduction, found by a browser of the same network: loopback."""

from zeroconf import ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from adapters.dnssd.announce import DIRECTORY, TCP, UDP, Announced, Announcer
from tests.adapters.live import until

NAME = "snac.asu.test"


class Browser:
    """What a client sees that browses."""

    async def __aenter__(self):
        self.found = {}
        self.gone = set()
        self.zeroconf = AsyncZeroconf(["127.0.0.1"])
        self.browser = AsyncServiceBrowser(
            self.zeroconf.zeroconf, [TCP, DIRECTORY, UDP], handlers=[self.change]
        )
        return self

    async def __aexit__(self, *_):
        await self.browser.async_cancel()
        await self.zeroconf.async_close()

    def change(self, zeroconf, service_type, name, state_change):
        if state_change is ServiceStateChange.Removed:
            self.gone.add(service_type)
        else:
            self.found[service_type] = name


async def test_a_browser_finds_the_directory_until_it_stops():
    announcer = Announcer(NAME)
    services = [Announced("http", "127.0.0.1", 8080), Announced("coap", "127.0.0.1", 5683)]
    async with Browser() as browser:
        await announcer.announce(services)
        try:
            await until(lambda: len(browser.found) == 3)
            assert browser.found == {
                TCP: f"{NAME}.{TCP}",
                DIRECTORY: f"{NAME}.{TCP}",
                UDP: f"{NAME}.{UDP}",
            }
            for kind, scheme, port in ((TCP, "http", 8080), (UDP, "coap", 5683)):
                info = AsyncServiceInfo(kind, f"{NAME}.{kind}")
                assert await info.async_request(browser.zeroconf.zeroconf, 3000)
                assert info.decoded_properties == {
                    "td": "/.well-known/wot",
                    "type": "Directory",
                    "scheme": scheme,
                }
                assert (info.port, info.server) == (port, f"{NAME}.")
                assert info.parsed_addresses() == ["127.0.0.1"]
        finally:
            await announcer.close()
        await until(lambda: browser.gone == {TCP, DIRECTORY, UDP})
