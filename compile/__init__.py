"""Quantized graph to deployable graph: lower to integer ops, place, partition, estimate, write."""
