"""The journal: what a client writes to disk so that a later process can continue."""
