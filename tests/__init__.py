"""Tests of iii_trio: see the layout in each sub-package's name."""
