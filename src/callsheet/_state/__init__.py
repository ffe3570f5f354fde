"""What one client holds in memory, and how others wait for it."""
