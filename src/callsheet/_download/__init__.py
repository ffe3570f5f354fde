"""From a video URL to a file on disk."""
