"""Child processes in which verifiers run: the pool, what a child does, and what it may not do."""
