"""DPU targets as data: names, fingerprints, limits, memory."""
