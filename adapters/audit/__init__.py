"""The audit log on disk: a thread that writes it, and what reads it (decision 0039)."""
