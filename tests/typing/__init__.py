"""Tests: samples of the API, checked by mypy only."""
