"""Sends spans to an OpenTelemetry collector (decision 0040)."""
