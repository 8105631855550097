"""People log in at the control API with a real browser, at a real provider."""

import json
import time
from collections.abc import Iterator

import pytest

from tests.oidc.browser import Browser, running_browser
from tests.oidc.provider import PASSWORDS
from tests.oidc.sites import let_ann_in, running_site
from tests.running import Gateway, request

COOKIE = "hilum-session"


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    with running_browser(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture(scope="module")
def site(provider, tmp_path_factory) -> Iterator[Gateway]:
    with running_site(provider, tmp_path_factory.mktemp("site")) as running:
        let_ann_in(running)
        manifest = {"microservice": "Weather", "description": "Says what the weather is."}
        running.register({**manifest, "objects": []})
        yield running


def log_in(browser: Browser, site: Gateway, person: str = "ann") -> None:
    browser.go(site.control)
    browser.click("a.button")
    browser.find("[name=login], dl")
    if browser.all("[name=login]"):  # else the provider still knows the person
        fill_in(browser, person, PASSWORDS[person])
    browser.find("dl")


def fill_in(browser: Browser, person: str, password: str) -> None:
    browser.write("[name=login]", person)
    browser.write("[name=password]", password)
    browser.click("button")


def post(site: Gateway, cookie: str, **fields: str):
    headers = {"Cookie": f"{COOKIE}={cookie}", "Content-Type": "application/json"}
    headers |= {name.replace("_", "-"): value for name, value in fields.items()}
    body = json.dumps({"principal": "corp:ann", "action": "call", "name": "weather/now"})
    return request(site.control, "POST", "/api/v1/explain", body, headers)


@pytest.fixture
def logged_in(browser, site) -> Iterator[str]:
    """Return the cookie of a login of ann's, whose page is shown."""
    browser.clear()
    log_in(browser, site)
    assert "corp:ann" in browser.text()
    yield browser.cookies()[COOKIE]["value"]
    browser.clear()


def test_a_person_logs_in_sees_their_page_and_logs_out(browser, site, provider):
    browser.clear()
    browser.go(site.control)
    assert "corp:ann" not in browser.text()
    browser.click("a.button")
    browser.find("[name=login]")
    assert browser.url.startswith(provider.issuer)
    fill_in(browser, "ann", "wrong")
    assert "wrong" in browser.text("#says:not(:empty)")
    assert browser.url.startswith(provider.issuer)
    fill_in(browser, "ann", PASSWORDS["ann"])
    browser.find("dl")
    assert browser.url == f"{site.control}/"
    shown = browser.text()
    for said in ("corp:ann", "operator", "UTC", "Weather", "& its <things>"):
        assert said in shown
    cookie = browser.cookies()[COOKIE]
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Lax", "/")
    assert "hilum-login" not in browser.cookies()
    assert browser.run("return document.cookie") == ""
    browser.size(380, 800)
    assert browser.run("return document.body.scrollWidth <= window.innerWidth"), "it fits"
    browser.click("a[href='/services/Weather']")
    assert browser.text("h1") == "Weather"
    assert "Thing Description" in browser.text(".formats")
    browser.go(site.control)
    browser.click("button")
    browser.find("a.button")
    assert browser.url == f"{site.control}/"
    assert "Log in" in browser.text()
    assert COOKIE not in browser.cookies()
    assert post(site, cookie["value"]).status == 401, "the old cookie is worth nothing"


def test_who_has_no_policies_sees_only_who_they_are(browser, site):
    browser.clear()
    log_in(browser, site, "bob")
    shown = browser.text()
    assert "corp:bob" in shown
    assert "Weather" not in shown
    assert shown.count("No policy lets you see this.") == 2


def test_a_cookie_alone_only_reads(site, logged_in, browser):
    own = site.control
    csrf = browser.run("return document.querySelector('[name=csrf]').value")
    head = {"Cookie": f"{COOKIE}={logged_in}"}
    assert request(own, "GET", "/api/v1/policies", headers=head).status == 200
    for fields in (
        {},
        {"hilum_csrf": "x" * 43},
        {"hilum_csrf": logged_in},
        {"hilum_csrf": csrf, "origin": "http://evil.example"},
        {"hilum_csrf": csrf, "origin": "null"},
        {"hilum_csrf": csrf, "origin": site.url},
        {"hilum_csrf": csrf, "sec_fetch_site": "cross-site"},
        {"hilum_csrf": csrf, "sec_fetch_site": "same-site"},
        {"hilum_csrf": csrf, "sec_fetch_site": "none"},
    ):
        assert post(site, logged_in, **fields).status == 403, fields
    assert post(site, logged_in, hilum_csrf=csrf).status == 200
    assert post(site, logged_in, hilum_csrf=csrf, origin=own).status == 200
    assert post(site, logged_in, hilum_csrf=csrf, authorization="Bearer no").status == 401


def policy(name: str) -> str:
    """Return a policy that denies what nobody asks for."""
    spec = {"effect": "deny", "subjects": [{}], "actions": ["call"], "names": ["nothing"]}
    head = {"apiVersion": "hilum/v1", "kind": "AccessPolicy", "metadata": {"name": name}}
    return json.dumps({**head, "spec": spec})


def test_a_page_of_another_origin_can_do_nothing(browser, site, logged_in, provider):
    """The other page is of the same host, so that the browser sends the cookie along."""
    csrf = browser.run("return document.querySelector('[name=csrf]').value")
    own = {"Cookie": f"{COOKIE}={logged_in}", "Content-Type": "application/json"}
    path = "/api/v1/policies"
    proof = {**own, "Hilum-CSRF": csrf}
    assert request(site.control, "POST", path, policy("proof"), proof).status == 200
    ask = """return fetch(arguments[0], {method: 'POST', credentials: 'include', body: arguments[1],
      mode: arguments[2], headers: arguments[3]}).then(r => r.status, e => e.message)"""
    browser.go(provider.issuer + "/interaction/none")
    target, evil = site.control + path, policy("evil")
    assert browser.run(ask, target, evil, "cors", {"Hilum-CSRF": csrf}) == "Failed to fetch"
    assert browser.run(ask, target, evil, "cors", {}) == "Failed to fetch"
    browser.run(ask, target, evil, "no-cors", {})
    form = f"""<form id=f method=post action="{site.control}/logout">
      <input name=csrf value="{csrf}"></form>"""
    browser.run("document.body.innerHTML = arguments[0]; document.all.f.submit()", form)
    assert "this site's own page" in browser.text(".error")
    browser.go(site.control)
    assert "corp:ann" in browser.text(), "another page cannot log a person out"
    names = [one["metadata"]["name"] for one in site.ask("policy/get")["items"]]
    assert "proof" in names
    assert "evil" not in names


def test_a_cookie_is_nobody_on_the_data_listener(site, logged_in):
    head = {"Cookie": f"{COOKIE}={logged_in}"}
    answer = request(site.url, "POST", "/$site/policy/get", "{}", head)
    assert answer.status == 401


def test_revoking_a_principal_ends_its_logins(browser, site, logged_in):
    head = {"Cookie": f"{COOKIE}={logged_in}"}
    assert request(site.control, "GET", "/api/v1/policies", headers=head).status == 200
    site.ask("identity/revoke", {"principal": "corp:ann"})
    assert request(site.control, "GET", "/api/v1/policies", headers=head).status == 401
    browser.go(site.control)
    assert "Log in" in browser.text()


def test_a_login_ends_when_it_is_not_used(browser, provider, tmp_path):
    with running_site(provider, tmp_path, "session_idle = 1.0", client="hilum-public") as site:
        browser.clear()
        log_in(browser, site)
        assert "corp:ann" in browser.text()
        assert "1 seconds" in browser.text()
        time.sleep(1.3)
        browser.go(site.control)
        assert "Log in" in browser.text()
