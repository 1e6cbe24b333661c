"""`loreline evaluate`: configs compared with knowledge off and on, or over domains; tables, JSON and plots."""
