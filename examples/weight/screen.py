"""The display: panels on a terminal, plain lines elsewhere."""

from collections import Counter, deque
from statistics import median

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from examples.weight.day import clock
from examples.weight.director import Director
from examples.weight.watcher import by_hour

BARS = " ▁▂▃▄▅▆▇█"
LINES = 9


class Screen:
    """Shows what a director does for as long as it is entered."""

    def __init__(self, plain: bool) -> None:
        self.console = Console(highlight=False)
        self.plain = plain or not self.console.is_terminal
        self.director: Director | None = None
        self._story: deque[str] = deque(maxlen=LINES)
        self._live = Live(console=self.console, refresh_per_second=8, get_renderable=self._render)

    def __enter__(self) -> "Screen":
        if not self.plain:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """Tell a line of the story."""
        self._story.append(f"{self._time()}  {text}")
        if self.plain:
            self.print(self._story[-1])

    def print(self, text: str) -> None:
        """Print what stays: above the panels, where there are any."""
        self.console.print(text, markup=False, soft_wrap=True)

    def _time(self) -> str:
        return clock(min(self.director.clock.now(), 86_400)) if self.director else "00:00"

    def _render(self) -> RenderableType:
        grid = Table.grid(expand=True)
        grid.add_column(ratio=1)
        grid.add_column(ratio=1)
        if self.director is not None:
            grid.add_row(self._day(self.director), self._calls(self.director))
            grid.add_row(self._advice(self.director), self._decision(self.director))
        lines = Text("\n".join(self._story), no_wrap=True, overflow="ellipsis")
        story = Panel(lines, title="what happens", height=LINES + 2)
        return Group(grid, story)

    def _day(self, director: Director) -> Panel:
        burned, eaten, goal = director.watcher.burned, director.watcher.eaten, director.client.goal
        table = Table.grid(padding=(0, 1))
        for name, hours in (("burned", by_hour(burned)), ("eaten", by_hour(eaten))):
            table.add_row(name, f"{sum(hours):5.0f} kcal", _bars(hours))
        table.add_row("goal", f"{goal.get('goal', 0):5} kcal", "more burned than eaten")
        what = "reached" if goal.get("reached") else "for exercise to burn"
        table.add_row("missing", f"{goal.get('missing', 0):5} kcal", what)
        return Panel(table, title=f"alice's day, {self._time()}", height=6)

    def _calls(self, director: Director) -> Panel:
        client = director.client
        text = Text(f"{client.ok} ok", "green")
        text.append(f"   {len(client.failures)} failed", "red" if client.failures else "green")
        text.append(f"   median {median(client.milliseconds.copy() or [0.0]):.1f} ms\n", "default")
        for by, count in sorted(Counter(client.recent.copy()).items()):
            text.append(f"{by}  {'█' * (count // 2)} {count}\n")
        return Panel(text, title=f"alice's calls, the last {len(client.recent)}", height=6)

    def _advice(self, director: Director) -> Panel:
        by = director.client.latest
        version, _, instance = by.partition("/")
        title = f"recommended by version {version}, instance {instance}" if by else "no plan yet"
        return Panel(director.client.advice.get(version, ""), title=title, height=6)

    def _decision(self, director: Director) -> Panel:
        decision = director.watcher.decision
        text = Text(no_wrap=True, overflow="ellipsis")
        for reason in decision.get("reasons", []):
            text.append(f"{reason['effect']}: {reason['policy']}\n")
        for one in decision.get("resolvesTo", []):
            text.append(f"{'→' if one['healthy'] else '✗'} {one['target']}\n")
        return Panel(text, title="getRecommendation, as the gateway decides now", height=6)


def _bars(values: list[float]) -> str:
    top = max(*values, 1.0)
    return "".join(BARS[round(value / top * (len(BARS) - 1))] for value in values)
