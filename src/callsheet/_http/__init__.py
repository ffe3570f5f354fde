"""Requests to the provider: connections, the verbs of the task API, retries."""
