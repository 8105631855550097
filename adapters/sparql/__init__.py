"""Queries run in processes that can be killed: a keeper of a replica, and a fork of it for each."""
