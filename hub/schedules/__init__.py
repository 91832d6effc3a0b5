"""Schedules as clients make and change them."""
