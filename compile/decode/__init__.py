"""Reading back what the vendor's compiler wrote for a VCK5000: parameters out of the blob its program loads from."""
