"""The native kernel set: C++ that gives the reference's bytes with the best instructions of this CPU."""
