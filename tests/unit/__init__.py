"""Tests: pure modules, no event loop."""
