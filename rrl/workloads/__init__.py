"""Arrivals: when requests come, at steady and changing rates and from traces."""
