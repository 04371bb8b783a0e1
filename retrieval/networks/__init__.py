"""What turns pixels into vectors."""
