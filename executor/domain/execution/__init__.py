"""A run: its fold (`state`), its decisions (`decide`), its rows (`rows`), what its references see (`references`)."""
