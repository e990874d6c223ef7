"""The benchmarks: ``python -m benchmarks`` measures, `README.md` says how to read it."""
