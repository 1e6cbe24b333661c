"""`loreline models`: versions listed, promoted, compared, and sent a share of the users."""
