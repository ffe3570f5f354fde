"""From a task id to its end: when each task is asked about, and by which request."""
