"""Composition root: the only package that sees both engine and builtins."""
