"""The state that one client keeps in memory, and how callers wait for changes of it."""
