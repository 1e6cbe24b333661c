"""Feast's feature repository: entities, views, and the stores of each environment."""
