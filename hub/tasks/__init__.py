"""Tasks as people and workers see them: listed, claimed, done."""
