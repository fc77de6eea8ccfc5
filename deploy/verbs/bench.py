"""`unmask bench`: speed beside the alternatives."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.console import Json, Output, Quiet
from xmodel.errors import UsageError


def bench(
    context: typer.Context,
    models: Annotated[str, typer.Option(help="Networks, separated by commas.")] = "uynet-lite,uynet",
    batch: Annotated[str, typer.Option(help="Images a call, separated by commas.")] = "1,8",
    threads: Annotated[str, typer.Option(help="Numbers of threads, separated by commas.")] = "1,2",
    rounds: Annotated[int, typer.Option(min=1, max=1024, help="Turns an engine; the median counts.")] = 7,
    quick: Annotated[bool, typer.Option("--quick", help="One small table only: other options do not count.")] = False,
    host: Annotated[
        bool, typer.Option("--host", help="The host's part alone: from crops to masks with a device of no cost.")
    ] = False,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Where the time of Unmask's own kernels goes, op by op."),
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Speed beside OpenVINO, ONNX Runtime and torch.

    All take turns on the same network in one run, with random images; the extra `bench` brings the competitors. With
    --host it measures how many crops a second this machine can pass to a card, step by step; of the other options
    --threads (threads that decode), --rounds and --quick count then. With --profile it times each op of Unmask's own
    kernels, and no other engine runs.
    """
    from deploy.bench import BenchJob, run_bench, shown, shown_profiles, whole_numbers

    output = Output.of(context, json, quiet)
    if host and profile:
        raise UsageError("--host and --profile exclude each other.", hint="Give one of them.")
    if host:
        from deploy import host_bench

        workers = whole_numbers(threads, "--threads")
        hosted = host_bench.HostJob(300, 1, workers) if quick else host_bench.HostJob(1000, min(rounds, 99), workers)
        measured = host_bench.run_host(hosted)
        output.result(measured, host_bench.shown(measured))
        return
    names = tuple(name.strip() for name in models.split(","))
    sizes = whole_numbers(batch, "--batch"), whole_numbers(threads, "--threads")
    job = BenchJob.quick(output.quiet) if quick else BenchJob(names, *sizes, rounds, output.quiet)
    if profile:
        profiled = run_bench(job, module="layer_profile")
        output.result(profiled, shown_profiles(profiled))
        return
    found = run_bench(job)
    output.result(found, shown(found))
