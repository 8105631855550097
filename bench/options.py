"""How long and how often things are measured."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Options:
    """``rounds`` of ``seconds`` for each gateway and load; ``compiled`` measures that form too."""

    rounds: int = 5
    seconds: int = 2
    compiled: bool = False
    quick: bool = False

    def brief(self) -> "Options":
        """Return options for what needs less time."""
        return replace(self, seconds=1)

    def with_compiled(self) -> "Options":
        """Return options that measure the compiled form too."""
        return replace(self, compiled=True)


QUICK = Options(rounds=2, seconds=1, quick=True)
