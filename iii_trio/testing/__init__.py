"""The public harness: engines, links, faults and checks for tests."""
