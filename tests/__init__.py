"""Facts that a user relies on."""
