"""Tests: sockets, files and processes."""
