"""Decisions without deeds: told the time, these modules hand out orders and never sleep."""
