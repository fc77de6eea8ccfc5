"""The vendor's quantizer, driven from outside: job files, a worker in its own Python, its messages made clear."""
