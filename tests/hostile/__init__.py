"""Generated hostile traffic against a real server under normal load: ``make hostile``."""
