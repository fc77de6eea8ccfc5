"""Networks, their weights, samples, training and metrics."""
