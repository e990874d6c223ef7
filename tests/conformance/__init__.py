"""Tests: implementations against their contracts."""
