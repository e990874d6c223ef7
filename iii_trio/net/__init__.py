"""Bytes and sockets: one pump for all connections. Nothing here knows iii."""
