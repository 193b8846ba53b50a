"""Arrival times of requests: steady rates, changing rates and recorded traces."""
