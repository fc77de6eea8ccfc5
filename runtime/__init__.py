"""Execution: the emulator, the batching engine, pre- and post-processing."""
