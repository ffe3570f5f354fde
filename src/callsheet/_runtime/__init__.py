"""The parts of an open client, wired together."""
