"""The version, read by the build and by ``iii-trio --version``."""

__version__ = "0.1.0"
