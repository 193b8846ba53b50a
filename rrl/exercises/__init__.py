"""Checks of the exercises: a wrong answer gets its own reason, and a right one passes."""
