"""The folder of the site's CA: what is in it, and that writers do not get in each other's way."""

import secrets
import threading

import pytest

from gateway.identity.authority import LIST_DAYS, AuthorityFolder
from policy.identity.site_ca import CertificateError, new_key, new_request, read_certificate

NOW = 1_800_000_000.0


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def authority(tmp_path, clock):
    made = AuthorityFolder(tmp_path / "ca", random=secrets.token_bytes, time=clock)
    made.create("a test")
    return made


REQUEST = new_request(new_key())


def test_only_its_owner_reads_the_key(authority):
    assert authority.exists()
    assert (authority.folder / "ca.key").stat().st_mode & 0o777 == 0o600
    assert authority.folder.stat().st_mode & 0o777 == 0o700
    assert authority.revoked().number == 1
    assert authority.revoked().serials == {}


def test_there_is_no_second_authority_over_the_first(authority):
    before = authority.certificate_pem()
    with pytest.raises(FileExistsError):
        authority.create("another")
    assert authority.certificate_pem() == before


def test_what_was_issued_is_noted(authority):
    one = authority.certify(REQUEST, "device:lamp", 10)
    other = authority.certify_server(REQUEST, ["localhost"], 10)
    noted = authority.issued()
    assert [(r.serial, r.principal, r.hosts) for r in noted] == [
        (one.serial, "device:lamp", ()),
        (other.serial, "", ("localhost",)),
    ]
    assert noted[0].expires == read_certificate(one.pem).not_after


def test_a_line_that_was_not_written_whole_is_passed_over(authority):
    authority.certify(REQUEST, "device:lamp", 10)
    with (authority.folder / "issued.jsonl").open("a") as file:
        file.write('{"serial": "1')
    assert len(authority.issued()) == 1


def test_each_revocation_is_a_list_with_the_next_number(authority, clock):
    authority.revoke(["ab"])
    clock.now += 100
    authority.revoke(["ab", "cd"])
    revoked = authority.revoked()
    assert revoked.number == 3
    assert revoked.serials == {"ab": NOW, "cd": NOW + 100}


def test_the_list_is_written_anew_in_time(authority, clock):
    authority.revoke(["ab"])
    assert not authority.refresh()
    clock.now += (LIST_DAYS / 2 + 1) * 86_400
    assert authority.refresh()
    assert authority.revoked().next_update == clock.now + LIST_DAYS * 86_400
    assert set(authority.revoked().serials) == {"ab"}


def test_many_writers_at_once_lose_nothing(authority):
    def work(number):
        authority.certify(REQUEST, f"device:{number}", 1)
        authority.revoke([f"{number + 16:x}"])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(authority.issued()) == 8
    assert len(authority.revoked().serials) == 8
    assert authority.revoked().number == 9


def test_a_request_that_is_none_leaves_nothing_behind(authority):
    with pytest.raises(CertificateError):
        authority.certify(b"nothing", "device:lamp", 10)
    assert authority.issued() == []
