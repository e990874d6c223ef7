"""Tests: one engine, memory links, virtual time."""
