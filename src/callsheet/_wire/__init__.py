"""The provider's JSON, read and written without any I/O."""
