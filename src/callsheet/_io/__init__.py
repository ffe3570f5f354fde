"""The only floor that talks to the provider."""
