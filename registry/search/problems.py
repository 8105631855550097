"""What is wrong with a query, and where."""


class InvalidQuery(ValueError):
    """A query that cannot be answered; line and column count from 1, 0 where it is unknown."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column

    def __str__(self) -> str:
        at = f"line {self.line}, column {self.column}: " if self.line else ""
        return at + self.message


class TooMuch(ValueError):
    """An answer beyond a limit: what, and what to do."""
