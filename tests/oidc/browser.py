"""A headless Chromium, driven over the WebDriver protocol (W3C WebDriver 2)."""

import base64
import contextlib
import http.client
import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import require_program

SECONDS = 20.0
"""How long a page, or something on it, may take to come."""
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key of an element's reference (section 12.1)."""
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # tests may run as root, and only open pages of ours
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)


class Browser:
    """One window. ``find`` waits until there is such an element, named by a CSS selector."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._session = ""

    def begin(self, profile: Path) -> None:
        """Open the window."""
        options = {
            "binary": require_program("chromium"),
            "args": [*ARGUMENTS, f"--user-data-dir={profile}"],
        }
        wanted = {"browserName": "chrome", "goog:chromeOptions": options}
        asked = {"capabilities": {"alwaysMatch": wanted}}
        self._session = "/session/" + self._do("POST", "/session", asked)["sessionId"]

    def close(self) -> None:
        """Close the window."""
        if self._session:
            self._do("DELETE", self._session)

    def go(self, url: str) -> None:
        """Open a page."""
        self._ask("POST", "/url", {"url": url})

    @property
    def url(self) -> str:
        return str(self._ask("GET", "/url"))

    @property
    def title(self) -> str:
        return str(self._ask("GET", "/title"))

    def text(self, css: str = "body") -> str:
        """Return what can be read in an element."""
        return str(self._ask("GET", f"/element/{self.find(css)}/text"))

    def find(self, css: str) -> str:
        end = time.monotonic() + SECONDS
        while not (found := self.all(css)):
            assert time.monotonic() < end, f"no {css} at {self.url}: {self.text()}"
            time.sleep(0.05)
        return found[0]

    def all(self, css: str) -> list[str]:
        """Return the elements that are there now."""
        found = self._ask("POST", "/elements", {"using": "css selector", "value": css})
        return [one[ELEMENT] for one in found]

    def click(self, css: str) -> None:
        self._ask("POST", f"/element/{self.find(css)}/click", {})

    def write(self, css: str, text: str) -> None:
        self._ask("POST", f"/element/{self.find(css)}/value", {"text": text})

    def cookies(self) -> dict[str, dict[str, Any]]:
        """Return the page's cookies by name."""
        return {one["name"]: one for one in self._ask("GET", "/cookie")}

    def clear(self) -> None:
        """Forget all cookies, of every page."""
        command = {"cmd": "Network.clearBrowserCookies", "params": {}}
        self._ask("POST", "/goog/cdp/execute", command)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of a JavaScript function; what it promises is awaited."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def size(self, width: int, height: int) -> None:
        """Set the window's size in pixels."""
        self._ask("POST", "/window/rect", {"width": width, "height": height})

    def picture(self, path: Path) -> None:
        """Take a screenshot (PNG)."""
        path.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    def _ask(self, verb: str, path: str, body: Any = None) -> Any:
        return self._do(verb, self._session + path, body)

    def _do(self, verb: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        with contextlib.closing(connection):
            connection.request(verb, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            value = json.loads(response.read())["value"]
        assert response.status == 200, f"{verb} {path}: {value}"
        return value


@contextmanager
def running_browser(profile: Path) -> Iterator[Browser]:
    """Run a browser; ``profile`` is a folder of its own."""
    require_program("chromium")
    command = [require_program("chromedriver"), "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as driver:
        try:
            browser = Browser(_port(driver))
            try:
                browser.begin(profile)
                yield browser
            finally:
                browser.close()
        finally:
            driver.terminate()


def _port(driver: subprocess.Popen[bytes]) -> int:
    assert driver.stdout is not None
    for line in driver.stdout:
        if match := re.search(rb"started successfully on port (\d+)", line):
            return int(match[1])
    raise AssertionError("chromedriver ended at once")
