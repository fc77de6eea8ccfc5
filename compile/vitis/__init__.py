"""The vendor's compiler `vai_c_xir` as a backend: found, run, listened to, and its result checked."""
