"""Endpoints and sources on somebody's broker."""
