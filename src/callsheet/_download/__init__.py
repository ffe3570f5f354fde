"""Downloads a video from its URL to a file on disk."""
