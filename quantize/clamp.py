"""Clamps at export: fix positions moved to where the DPU's shifters can reach, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quantize.calibrate import WEIGHTED
from quantize.plan import Plan
from xmodel.graph import Graph, Op


@dataclass(frozen=True, slots=True)
class Clamp:
    """One position that was changed: the tensor's op, before and after, and why."""

    op: str
    before: int
    after: int
    reason: str


def clamp_positions(graph: Graph, plan: Plan, positions: Mapping[str, int]) -> tuple[dict[str, int], tuple[Clamp, ...]]:
    """Positions that satisfy the DPU's limits, in one forward pass (spec: vai_q_pytorch 3.5, section 6)."""
    state = _State(graph, plan, dict(positions), [])
    for op in graph.ops:
        if op.type in ("strided_slice", "pad"):
            state.copy_input(op, "its output keeps its input's position")
        elif op.type == "resize" and op.get("mode") == "NEAREST":
            fixed = plan.fixed_by.get(op.name)
            if fixed is not None and graph.op(fixed).type != "concat":
                state.copy_input(op, "nearest resizing keeps its input's position")
        elif op.type == "hard-sigmoid":
            state.bound(state.input_fix(op), 0, None, "the input of a hard-sigmoid has position 0 or more")
            state.bound(plan.fixed_by.get(op.name), 7, None, "a hard-sigmoid's result has position 7 or more")
        elif op.type == "hard-swish":
            source = state.input_fix(op)
            state.bound(source, 0, None, "the input of a hard-swish has position 0 or more")
            if source is not None and source in state.positions:
                highest = state.positions[source] + 7
                state.bound(plan.fixed_by.get(op.name), None, highest, "a hard-swish is at most 7 bits finer")
        elif op.type in WEIGHTED:
            state.limit_shifts(op)
    return state.positions, tuple(state.clamps)


@dataclass
class _State:
    graph: Graph
    plan: Plan
    positions: dict[str, int]
    clamps: list[Clamp]

    def move(self, name: str, after: int, reason: str) -> None:
        before = self.positions[name]
        if before != after:
            self.positions[name] = after
            self.clamps.append(Clamp(name, before, after, reason))

    def input_fix(self, op: Op) -> str | None:
        return self.plan.fixed_by.get(op.inputs["input"][0])

    def copy_input(self, op: Op, reason: str) -> None:
        source, own = self.input_fix(op), self.plan.fixed_by.get(op.name)
        if source in self.positions and own in self.positions and source is not None and own is not None:
            self.move(own, self.positions[source], reason)

    def bound(self, name: str | None, low: int | None, high: int | None, reason: str) -> None:
        """Keep a position within limits that the DPU's arithmetic sets."""
        if name is None or name not in self.positions:
            return
        before = self.positions[name]
        self.move(name, min(max(before, before if low is None else low), before if high is None else high), reason)

    def limit_shifts(self, op: Op) -> None:
        """shift_cut = w + i - o in [0, 16]; shift_bias = w + i - b in [min(0, shift_cut - 16), 16]."""
        source, own = self.input_fix(op), self.plan.fixed_by.get(op.name)
        weights = op.inputs["input"][1] if op.type == "matmul" else op.inputs["weights"][0]
        if source is None or own is None or source not in self.positions or own not in self.positions:
            return
        i = self.positions[source]
        cut = self.positions[weights] + i - self.positions[own]
        if cut < 0:
            self.move(own, self.positions[own] + cut, f"shift_cut {cut} is below 0")
        elif cut > 16:
            self.move(weights, self.positions[weights] - (cut - 16), f"shift_cut {cut} is above 16")
        if "bias" not in op.inputs:
            return
        bias = op.inputs["bias"][0]
        shift = self.positions[weights] + i - self.positions[bias]
        lowest = min(0, -(24 - (8 + cut)))
        if shift < lowest:
            self.move(bias, self.positions[bias] + (shift - lowest), f"shift_bias {shift} is below {lowest}")
        elif shift > 16:
            self.move(weights, self.positions[weights] - (shift - 16), f"shift_bias {shift} is above 16")
