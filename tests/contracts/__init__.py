"""One contract a seam: every implementation passes it."""
