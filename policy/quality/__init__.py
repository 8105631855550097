"""How much, how many at once, and when to stop asking: limits that are told the time."""
