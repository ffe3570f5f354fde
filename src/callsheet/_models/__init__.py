"""The values that travel through every floor: specs, snapshots, outcomes, policies."""
