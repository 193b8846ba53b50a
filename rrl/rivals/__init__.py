"""Rivals: what a user would pick instead of RRL, behind the same protocol."""
