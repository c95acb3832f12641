"""Everything that a teacher writes or scores, and what is made of it."""
