"""How long tasks take: what is expected, and what is learned from those that have ended."""
