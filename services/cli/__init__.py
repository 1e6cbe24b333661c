"""The `loreline` command: a thin face on the rest."""
