"""`loreline dlq`: dead letters listed, shown, sent again or given up. Their bytes are strange: none is printed raw."""
