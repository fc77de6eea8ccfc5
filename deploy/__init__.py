"""What a person runs: the `unmask` command and its reports."""
