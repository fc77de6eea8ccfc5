"""Float program to quantized graph: power-of-two INT8 for AMD DPUs."""
