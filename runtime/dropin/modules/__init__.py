"""The folder that `unmask exec` puts on the import path: modules under the vendor's names."""
