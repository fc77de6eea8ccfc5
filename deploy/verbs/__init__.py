"""The verbs of the `unmask` command, one module a verb: arguments in, a stage called, its result shown."""
