"""Nothing: the stand-in network is never run."""
