"""Asyncio and trio SDK for making many videos through the Seedance task API."""
