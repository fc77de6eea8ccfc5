"""Graphs of XIR ops, their .xmodel file format, and the errors and artifacts all stages share."""
