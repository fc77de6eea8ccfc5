"""The card: the vendor's xir and vart in a process of the vendor's own Python, behind the runner interface."""
