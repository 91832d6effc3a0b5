"""What a client offers, one file for each kind of thing."""
