"""Durable files, and the user's cache."""
