-- Whose a name is: a rebuild looks for the names of streams.
CREATE INDEX names_by_stream ON names (stream);
