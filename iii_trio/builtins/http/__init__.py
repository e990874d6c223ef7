"""The `http` trigger type: HTTP requests become invocations."""
