"""Tests of `xmodel/`."""
