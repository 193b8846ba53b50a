"""Rivals: the tuners that a user could pick instead of RRL. All follow the same protocol."""
