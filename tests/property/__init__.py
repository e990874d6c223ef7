"""Tests: rules, checked on generated programs."""
