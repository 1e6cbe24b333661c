"""`loreline knowledge` and `factors`: knowledge built in bulk, brought from elsewhere, shown, rebuilt and restored."""
