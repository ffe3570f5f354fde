"""The values that all layers share: specs, snapshots, outcomes, policies."""
