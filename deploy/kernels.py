"""The emulator's kernel sets as a command's option."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

KernelChoice = Literal["auto", "native", "torch", "reference"]
Kernels = Annotated[
    KernelChoice,
    typer.Option(help="The emulator's kernels; auto: native where built, else torch, else the slow reference."),
]
