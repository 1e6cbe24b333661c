"""Ranks candidates for a user: an item cache, one user read, and the scorer half of the active model version."""
