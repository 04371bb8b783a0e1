"""What this process has: threads, memory, forks, and what it writes to stderr."""
