"""Knowledge of a whole dataset as rows of the offline store: asked of the services in bulk, or read from files."""
