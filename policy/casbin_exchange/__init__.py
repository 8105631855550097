"""Policies as casbin's models and rows, and back; casbin as the oracle of tests."""
