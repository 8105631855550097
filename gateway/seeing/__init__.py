"""What happened and what happens: the audit log, live views."""
