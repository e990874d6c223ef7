"""Durable stores on SQLite, one file per engine."""
