"""`python -m runtime.dropin APP.py ARGS…`: another way to write `unmask exec APP.py ARGS…`."""

from __future__ import annotations

import runpy
import sys

if __name__ == "__main__":
    # By name: the command knows the parts that this package may not, such as reading the vendor's parameters.
    sys.argv[1:1] = ["exec"]
    runpy.run_module("deploy.command", run_name="__main__", alter_sys=True)
