"""`unmask card setup`: the steps that make a host and a container ready for the card, per release of Vitis AI."""
