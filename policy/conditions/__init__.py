"""Conditions: a small, total language over attributes of subject, object and environment."""
