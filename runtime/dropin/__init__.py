"""The drop-in `xir`, `vart` and `vitis_ai_library`: VART applications run unmodified on the emulator."""
