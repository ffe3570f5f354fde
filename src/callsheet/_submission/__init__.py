"""From a spec to its task id: whose turn it is, the paid request, and lost answers."""
