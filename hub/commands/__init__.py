"""The command, one file for each group of it. Heavy imports wait until a command needs them."""
