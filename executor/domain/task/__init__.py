"""A task: its fold (`state`), what may happen to it (`decide`), its row (`rows`)."""
