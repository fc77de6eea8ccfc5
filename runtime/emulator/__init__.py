"""The emulator: the readable definition of the DPU's arithmetic, and kernels that give the same bytes fast."""
