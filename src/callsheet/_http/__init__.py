"""Requests to the provider: the connections, the verbs of the task API, and retries."""
