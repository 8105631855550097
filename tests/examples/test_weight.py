"""The body-weight example: its logic alone, then the whole demo with all its processes."""

import hmac
import os
import signal
import socket
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from examples.weight import recommender, recommender2
from examples.weight.by_http import parse_events
from examples.weight.day import rows
from examples.weight.facts import DAY, Day, Goal, check_goal, goal_of, missing
from examples.weight.phone import roll_up
from examples.weight.record_day import record
from examples.weight.server import NotTheGateway, caller
from tests.support import ROOT

EXAMPLE = ROOT / "examples" / "weight"
SECONDS = 100


def sample(time: str, kcal: float) -> dict[str, object]:
    return {"time": time, "kcal": kcal}


def afternoon(now: int = 15 * 60) -> Day:
    """A day with a gap at 17:00 in which it rains, and free dry time from 18:00."""
    day = Day(now=now, burned=1500, eaten=1200, meal=12 * 60 + 45)
    day.busy = [(9 * 60, 17 * 60), (17 * 60 + 15, 18 * 60), (19 * 60 + 30, DAY)]
    skies = {"15": "cloudy", "16": "rain", "17": "rain", "18": "cloudy"}
    day.hours = {hour: {"sky": sky, "celsius": 15} for hour, sky in skies.items()}
    return day


def test_every_part_of_the_example_is_short():
    lengths = {path.name: len(path.read_text().splitlines()) for path in EXAMPLE.glob("*.py")}
    assert not {name: length for name, length in lengths.items() if length >= 100}


# --- the logic --------------------------------------------------------------------------------


def test_samples_become_one_event_a_minute():
    samples = [sample("00:00:20", 1), sample("00:00:40", 2), sample("00:01:00", 3)]
    samples += [sample("00:01:20", 4), sample("00:03:00", 5)]
    assert list(roll_up(samples)) == [
        {"minute": "00:00", "kcal": 6, "samples": 3, "total": 6},
        {"minute": "00:01", "kcal": 4, "samples": 1, "total": 10},
        {"minute": "00:02", "kcal": 5, "samples": 1, "total": 15},
    ]


def test_a_minute_that_is_not_over_is_not_told():
    assert list(roll_up([sample("10:00:20", 1)])) == []


def test_rolling_up_the_recorded_day_loses_nothing():
    day = [{"time": row["time"], "kcal": float(row["kcal"])} for row in rows("wristband")]
    minutes = list(roll_up(day))
    assert len(minutes) == DAY
    assert minutes[-1]["total"] == pytest.approx(sum(one["kcal"] for one in day))
    assert minutes[-1]["total"] == pytest.approx(sum(one["kcal"] for one in minutes))


def test_the_recording_is_what_its_maker_makes():
    assert (EXAMPLE / "data" / "wristband.csv").read_text().splitlines() == list(record())


def test_a_goal_spreads_the_weight_over_the_days():
    assert goal_of("alice", 82, 78, 8) == Goal("alice", 550)
    for target, weeks in ((82, 8), (90, 8), (78, 0)):
        with pytest.raises(ValueError, match="targetKg"):
            goal_of("alice", 82, target, weeks)


def test_what_is_missing_shrinks_with_what_is_burned_and_grows_with_what_is_eaten():
    goal, day = Goal("alice", 550), afternoon()
    now = missing(goal, day)
    day.on_burned({"minute": "14:59", "total": 1600})
    assert missing(goal, day) == now - 100
    day.on_eaten({"time": "15:00", "total": 1250})
    assert missing(goal, day) == now - 50


def test_a_goal_is_reached_only_when_the_day_is_over():
    assert not check_goal(Goal("alice", 1), afternoon())["reached"]
    over = Day(now=DAY, burned=2700, eaten=2100)
    assert check_goal(Goal("alice", 550), over)["reached"]
    assert not check_goal(Goal("alice", 700), over)["reached"]


def test_the_first_version_takes_the_next_free_minute_and_the_sky_of_now():
    said = recommender.advise(Goal("alice", 550), afternoon())
    assert said.startswith("At 17:00, run for ")


def test_the_second_version_takes_a_time_that_is_long_enough_and_dry():
    said = recommender2.advise(Goal("alice", 550), afternoon())
    assert said.startswith("At 18:00, run for ")
    assert said.endswith(" minutes (cloudy, 15 °C).")


def test_the_second_version_waits_after_a_meal_and_stays_in_when_it_rains():
    day = afternoon(now=18 * 60)
    day.meal = 18 * 60
    day.hours["18"]["sky"] = "rain"
    said = recommender2.advise(Goal("alice", 900), day)
    assert said.startswith("At 18:45, ride the exercise bike for 45 minutes")
    assert "eat " in said


@pytest.mark.parametrize("version", [recommender, recommender2])
def test_who_is_on_the_way_has_nothing_to_do(version):
    assert version.advise(Goal("alice", -5000), afternoon()).startswith("Nothing to do")


def test_versions_know_what_to_say_before_any_event_came():
    for version in (recommender, recommender2):
        assert version.advise(Goal("alice", 550), Day()).endswith(".")


# --- what services believe ----------------------------------------------------------------------

KEY = b"0123"
NOW = 29_400_000 * 60.0


def signed(said: str, key: bytes = KEY) -> str:
    return f"{said};mac={hmac.new(key, said.encode(), sha256).hexdigest()}"


def test_a_service_believes_its_gateway():
    assert caller(signed("user:ann%20b;kind=user;t=29400000"), KEY, NOW) == "user:ann b"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "user:ann;kind=user;t=29400000",
        "user:ann;kind=user;t=29400000;mac=é",
        signed("user:ann;kind=user;t=29400000", key=b"guessed"),
        signed("user:ann;kind=user;t=29400000").replace("ann", "bob"),
        signed("user:ann;kind=user;t=29399990"),
    ],
)
def test_a_service_believes_nobody_else(line):
    with pytest.raises(NotTheGateway):
        caller(line, KEY, NOW)


def test_event_streams_are_read_with_ids_and_without_gaps_and_comments():
    stream = b':\n\nretry: 2000\n\nid: a-1\ndata: {"kcal":\ndata:  1}\n\n'
    stream += b"id: a-3\nevent: gap\ndata: {}\n\nid: a-4\ndata: 2\n\ndata: 5"
    lines = stream.splitlines(keepends=True)
    assert list(parse_events(lines)) == [("a-1", {"kcal": 1}), ("a-4", 2)]


# --- all of it ----------------------------------------------------------------------------------


@pytest.fixture
def demo(tmp_path):
    """Start the demo with its state in tmp_path; returns the process, which ends with the test."""
    started = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "examples.weight.demo", "--state", str(tmp_path / "state")]
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=ROOT,
            env={**os.environ, "COLUMNS": "300"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.terminate()
        try:
            process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def below(pid: int) -> set[int]:
    """Return the processes that a process started."""
    children = Path("/proc", str(pid), "task").glob("*/children")
    return {int(child) for path in children for child in path.read_text().split()}


def is_running(pid: int) -> bool:
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_demo_runs_once_and_everything_happens(demo):
    process = demo("--once")
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    checks = [line for line in output.splitlines() if line.startswith(("ok    ", "FAILED"))]
    assert len(checks) == 21
    assert all(line.startswith("ok ") for line in checks)
    assert not any(map(is_running, below(process.pid) if process.poll() is None else ()))


def test_ctrl_c_ends_the_demo_with_all_its_processes(demo):
    process = demo("--day", "600")
    for line in process.stdout:
        if "every service registered" in line:
            break
    children = below(process.pid)
    assert len(children) == 7
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert not [pid for pid in children if is_running(pid)]


def test_a_demo_that_cannot_start_says_why_and_leaves_nothing(demo):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        process = demo("--once", "--http", f"127.0.0.1:{busy.getsockname()[1]}")
        output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert "the demo cannot go on" in output
    assert "in use" in output


@pytest.mark.full
def test_what_the_demo_tells_the_reader_to_type_works(demo):
    process = demo("--day", "20", "--plain")
    lines = iter(process.stdout.readline, "")
    for line in lines:
        if "The day is over" in line:
            break
    commands = []
    for line in lines:
        if "Ctrl-C here" in line:
            break
        commands += [line.strip()] if line.strip() and not line.startswith("#") else []
    assert len(commands) == 16
    script = "set -e\n"
    for command in commands:
        endless = " -N " in command or " watch " in command
        script += f"timeout 2 {command} || test $? = 124\n" if endless else f"{command}\n"
        script += "sleep 2\n" if command.endswith("&") else ""
    shell = ["bash", "-c", script + "kill %1\n"]
    done = subprocess.run(shell, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    for expected in (
        '"recommendation": ',
        '"shown": ',
        '"reminder": ',
        "oatmeal",
        "replaced",
        "denied",
        "Recommender",
    ):
        assert expected in done.stdout
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=SECONDS)[0]
    for expected in ("recommends: Eat ", "1.0.0/a and 2.0.0/a answer", "2.0.0/c"):
        assert expected in told
    assert "failed: " not in told
