"""What is kept through the death of the process."""
