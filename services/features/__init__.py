"""Features of items and users: ordered, idempotent writes and packed reads over Feast's online store."""
