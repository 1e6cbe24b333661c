"""What every process of the platform shares and that knows nothing of recommending: server, health, errors, logs."""
