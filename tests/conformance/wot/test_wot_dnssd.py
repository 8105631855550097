"""DNS-SD introduction (W3C WoT Discovery 6.3), found by a browser of the same network: loopback."""

from secrets import token_hex

from zeroconf import ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from adapters.dnssd.announce import DIRECTORY, TCP, UDP, Announced, Announcer
from gateway.settings import Coap, Directory
from tests.adapters.live import live_site, until
from tests.conformance.clauses import clause

# Everybody on this machine hears everybody: each site of a test has a name of its own.
NAME = f"snac-{token_hex(4)}.test"
SITE = f"site-{token_hex(4)}.test"


class Browser:
    """What a client sees that browses, of one site."""

    def __init__(self, site):
        self.site = site

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
        if not name.startswith(f"{self.site}."):
            return
        if state_change is ServiceStateChange.Removed:
            self.gone.add(service_type)
        else:
            self.found[service_type] = name


@clause(
    "WOT-introduction-dns-sd",
    "WOT-introduction-dns-sd-service-name",
    "WOT-introduction-dns-sd-service-name-udp",
    "WOT-introduction-dns-sd-service-name-directory",
    "WOT-introduction-dns-sd-txt-record",
    "WOT-introduction-dns-sd-txt-record-udp",
)
async def test_a_browser_finds_the_directory_until_it_stops():
    announcer = Announcer(NAME)
    services = [Announced("http", "127.0.0.1", 8080), Announced("coap", "127.0.0.1", 5683)]
    async with Browser(NAME) as browser:
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


@clause("WOT-introduction-dns-sd")
async def test_a_site_announces_what_it_listens_on(tmp_path):
    directory = Directory(port=0, enabled=True, announce=True)
    coap = Coap(port=0, anonymous=True)
    async with Browser(SITE) as browser:
        async with live_site(tmp_path, authority=SITE, coap=coap, directory=directory) as site:
            await until(lambda: len(browser.found) == 3)
            ports = {TCP: site.application.directory.port, UDP: site.application.devices.coap_port}
            for kind, port in ports.items():
                info = AsyncServiceInfo(kind, browser.found[kind])
                assert await info.async_request(browser.zeroconf.zeroconf, 3000)
                assert info.port == port
                assert info.name == f"{SITE}.{kind}"
        await until(lambda: browser.gone == {TCP, DIRECTORY, UDP})
