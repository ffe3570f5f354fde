"""What runs inside an open client, wired together."""
