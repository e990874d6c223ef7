"""The bundled workers: ordinary workers, with no private door."""
