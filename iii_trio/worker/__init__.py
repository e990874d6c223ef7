"""How a worker is written: the same API in process and over a URL."""
