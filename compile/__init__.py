"""Quantized graph to deployable graph: lower, partition, write."""
