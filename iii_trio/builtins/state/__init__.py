"""The `state` functions and trigger type."""
