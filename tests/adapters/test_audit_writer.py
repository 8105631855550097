"""The audit log on disk: whole after a kill, told when it is not, bounded, and never in the way."""

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from adapters.audit import writer as writing
from adapters.audit.folder import HEAD, files, newest, read_head, verify
from adapters.audit.writer import AuditWriter, Sizes
from tests.support import ROOT

DEFAULT = Sizes()


def wait_for(condition, seconds=5.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def write(folder, count, sizes=DEFAULT, salt=""):
    writer = AuditWriter(folder, sizes)
    writer.start()
    for number in range(count):
        writer.note({"event": "denied", "name": f"{salt}{number}"})
    writer.close()
    return writer


def kinds(folder):
    return [finding.kind for finding in verify(folder).findings]


def test_a_log_is_written_continued_and_verified(tmp_path):
    write(tmp_path, 3)
    last = write(tmp_path, 2)
    found = verify(tmp_path)
    assert (found.findings, found.records, found.first) == ([], 9, 1)
    assert found.head == last.head == read_head(tmp_path)
    assert [one.body["event"] for one in newest(tmp_path, 4)] == [
        "start",
        "denied",
        "denied",
        "stop",
    ]
    for path in (*files(tmp_path), tmp_path / HEAD):
        assert path.stat().st_mode & 0o777 == 0o600


def test_files_are_rotated_and_the_oldest_go(tmp_path):
    write(tmp_path, 500, Sizes(file=2000, files=4))
    write(tmp_path, 5000, Sizes(file=2000, files=4))
    found = verify(tmp_path)
    assert found.findings == []
    assert found.files <= 4
    assert found.first > 1
    oldest = files(tmp_path)[0]
    oldest.unlink()
    assert kinds(tmp_path) == ["removed"]


def test_retention_and_removal_are_told_apart_after_a_restart(tmp_path):
    write(tmp_path, 300, Sizes(file=2000, files=100))
    for _ in range(3):
        write(tmp_path, 20, Sizes(file=2000, files=100))
    assert verify(tmp_path).findings == []
    first, second, *_ = files(tmp_path)
    second.unlink()
    found = verify(tmp_path).findings
    assert [one.kind for one in found] == ["removed"]
    assert "missing before this one" in found[0].why
    first.unlink()
    assert "removed" in kinds(tmp_path)


def test_a_cut_tail_is_told_for_ever(tmp_path):
    write(tmp_path, 5)
    path = files(tmp_path)[0]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))
    assert kinds(tmp_path) == ["truncated"]
    writer = AuditWriter(tmp_path)
    writer.start()
    writer.close()
    assert kinds(tmp_path) == ["removed"]
    assert newest(tmp_path, 2)[0].body["wrong"].startswith("it ends with record 5")


def test_a_log_whose_files_are_gone_goes_on_behind_the_head(tmp_path):
    write(tmp_path, 5)
    files(tmp_path)[0].unlink()
    write(tmp_path, 1)
    found = verify(tmp_path)
    assert [one.kind for one in found.findings] == ["removed"]
    assert found.first == 8


def test_a_torn_record_is_cut_off_and_said(tmp_path):
    write(tmp_path, 5)
    path = files(tmp_path)[0]
    with path.open("ab") as file:
        file.write(b'{"seq":8,"ti')
    write(tmp_path, 1)
    assert verify(tmp_path).findings == []
    assert newest(tmp_path, 3)[0].body == {"event": "start", "torn": 12}


def test_a_changed_last_record_stays_as_evidence(tmp_path):
    write(tmp_path, 5)
    path = files(tmp_path)[0]
    path.write_bytes(path.read_bytes().replace(b'"event":"stop"', b'"event":"stay"'))
    write(tmp_path, 1)
    assert kinds(tmp_path)[0] == "changed"
    assert len(files(tmp_path)) == 2


def test_a_missing_or_unreadable_head_is_told(tmp_path):
    write(tmp_path, 1)
    (tmp_path / HEAD).write_text("nonsense")
    assert kinds(tmp_path) == ["damaged"]
    (tmp_path / HEAD).unlink()
    assert kinds(tmp_path) == ["truncated"]


class Disk:
    """Stands for os in the writer: a disk that is full while it is told to be."""

    def __init__(self):
        self.full = False

    def __getattr__(self, name):
        return getattr(os, name)

    def write(self, descriptor, data):
        if self.full:
            os.write(descriptor, data[:7])
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(descriptor, data)


def test_a_full_disk_loses_what_the_ring_cannot_hold_and_says_so(tmp_path, monkeypatch):
    disk = Disk()
    monkeypatch.setattr(writing, "os", disk)
    monkeypatch.setattr(writing, "RETRY_SECONDS", 0.01)
    told = []
    writer = AuditWriter(tmp_path, Sizes(ring=10), told.append)
    writer.start()
    wait_for(lambda: writer.written == 1)
    disk.full = True
    writer.note({"event": "denied", "name": "waits"})
    wait_for(lambda: writer.failing)
    for number in range(30):
        writer.note({"event": "denied", "name": str(number)})
    assert writer.lost == 20
    assert writer.waiting <= 11
    disk.full = False
    wait_for(lambda: not writer.failing)
    writer.close()
    assert told == [True, False]
    assert verify(tmp_path).findings == []
    gaps = [one.body["lost"] for one in newest(tmp_path, 100) if one.body["event"] == "gap"]
    assert gaps == [20]


def test_a_note_never_waits_for_the_disk(tmp_path, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(writing.os, "fdatasync", lambda _: gate.wait(5))
    writer = AuditWriter(tmp_path)
    writer.start()
    began = time.monotonic()
    for _ in range(1000):
        writer.note({"event": "denied"})
    assert time.monotonic() - began < 0.5
    gate.set()
    writer.close()
    assert verify(tmp_path).findings == []


def killed(folder, after):
    """Kill a writer some time after its first record; return the last record it knew as synced."""
    child = subprocess.Popen(
        [sys.executable, str(ROOT / "tests/adapters/audit_child.py"), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert child.stdout is not None
    first = child.stdout.readline()
    while child.stdout.readline() == first:
        pass
    time.sleep(after)
    child.send_signal(signal.SIGKILL)
    said = child.stdout.read().split()
    child.wait()
    child.stdout.close()
    return int(said[-1]) if said else 0


@pytest.mark.parametrize("rounds", [3, pytest.param(40, marks=pytest.mark.full)])
def test_a_killed_writer_leaves_a_whole_chain_that_goes_on(tmp_path, rounds):
    for _ in range(rounds):
        synced = killed(tmp_path, random.uniform(0.0, 0.4))
        found = verify(tmp_path)
        assert found.findings == []
        assert found.records >= synced
    starts = [one for one in newest(tmp_path, 10**6) if one.body["event"] == "start"]
    assert len(starts) == rounds
