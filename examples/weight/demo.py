"""The body-weight site, all of it, for one day in fast motion: what ``make demo`` runs."""

import signal
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from types import FrameType

from examples.weight.children import Children, Failed
from examples.weight.commands import commands
from examples.weight.common import SiteError
from examples.weight.screen import Screen
from examples.weight.stage import Stage
from examples.weight.story import Story

DAY = 86_400
ONCE, LIVE = 24.0, 60.0
"""Seconds that a day lasts."""


def arguments() -> Namespace:
    parser = ArgumentParser(description="Body-weight management (S3, case study 1), sped up")
    parser.add_argument("--once", action="store_true", help="end after the day; 0: all happened")
    parser.add_argument("--day", type=float, metavar="SECONDS", help="how long the day lasts")
    parser.add_argument("--http", default="127.0.0.1:0", help="the data listener's address")
    parser.add_argument("--control", default="127.0.0.1:0", help="the control API's address")
    parser.add_argument("--state", type=Path, help="a folder to keep; else a temporary one")
    parser.add_argument("--plain", action="store_true", help="lines instead of panels")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    with tempfile.TemporaryDirectory(prefix="hilum-demo-") as folder:
        state = Path(options.state or folder).resolve()
        state.mkdir(parents=True, exist_ok=True)
        children = Children(state / "logs")
        try:
            with Screen(plain=options.plain) as screen:
                stage = Stage(state, children, options.http, options.control)
                story = play(options, screen, stage)
                if not options.once:
                    stay(screen, story)
        except KeyboardInterrupt:
            return 130 if options.once else 0
        except (Failed, SiteError) as error:
            print(f"the demo cannot go on: {error}", file=sys.stderr)
            return 1
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # First of all, everything is ended.
            gently = children.stop()
    story.check("all processes ended when they were asked to", gently)
    for check in story.checks:
        print(f"{'ok    ' if check.ok else 'FAILED'}  {check.name}")
    return 0 if all(check.ok for check in story.checks) else 1


def play(options: Namespace, screen: Screen, stage: Stage) -> Story:
    """Tell the story of one day."""
    day = options.day or (ONCE if options.once else LIVE)
    screen.say(f"the site serves at {stage.url}; {stage.prepare()} policies are in force")
    screen.say(f"the clock runs {DAY / day:.0f} times too fast: this day lasts {day:g} seconds")
    story = screen.director = Story(stage, screen.say, rate=20 if options.once else 10)
    story.tell(DAY / day)
    return story


def stay(screen: Screen, story: Story) -> None:
    """Say what the reader can do, and go on until Ctrl-C; changes are told."""
    lines = [f"\n# {about}\n{command}" if about else command for about, command in commands(story)]
    screen.print("\nThe day is over, the site goes on, and alice goes on calling. Try:")
    screen.print("\n".join([*lines, "\n# Ctrl-C here ends everything\n"]))
    told: list[str] = []
    while True:
        time.sleep(1)
        client = story.client
        news = [f"{' and '.join(sorted(set(client.recent)))} answer"]
        news += [f"{version} recommends: {text}" for version, text in client.advice.items()]
        news += [f"failed: {failure}" for failure in client.failures]
        for line in news:
            if line not in told:
                screen.say(line)
        told = news


def _leave(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
