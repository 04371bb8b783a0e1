"""Files -> upright RGB arrays."""
