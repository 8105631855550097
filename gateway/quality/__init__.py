"""Quality policies at work: admission, places, accounts."""
