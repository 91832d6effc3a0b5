"""The schema as the steps that made it: `NNNN_what.sql`, run in order, each once, in a transaction of its own."""
