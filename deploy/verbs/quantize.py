"""`unmask quantize`: a float network and calibration images become an int8 graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deploy.console import Json, Output, Quiet
from deploy.verbs.evaluate import Limit, Seed

if TYPE_CHECKING:
    from rich.console import RenderableType

Three = tuple[float, float, float]


def quantize(
    context: typer.Context,
    calib: Annotated[
        Path,
        typer.Option(
            help="100 to 1000 calibration images: a folder of them, or x.npy (n, C, H, W), float32 as the network "
            "takes it or uint8, which means value / 255."
        ),
    ],
    model: Annotated[str | None, typer.Option(help="A registered network: uynet-lite (the default), uynet.")] = None,
    module: Annotated[
        str | None,
        typer.Option(
            help="Instead: net.py:Class, a torch.nn.Module or a function that makes one. The file is run, so name "
            "only code that you trust."
        ),
    ] = None,
    program: Annotated[
        Path | None, typer.Option(help="Instead: a torch.export program, model.pt2. No code in it is run.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Checkpoint (.safetensors or .pth) for --model or --module; default: the shipped one, or what the "
            "class itself sets."
        ),
    ] = None,
    seed: Seed = None,
    name: Annotated[str | None, typer.Option(help="Name of the result; default: the class's.")] = None,
    input_size: Annotated[
        tuple[int, int] | None, typer.Option(help="Height and width, for --module with a folder of images.")
    ] = None,
    mean: Annotated[
        Three | None, typer.Option(help="Mean of each channel, of pixels in [0, 1], for --module and --program.")
    ] = None,
    std: Annotated[Three | None, typer.Option(help="Standard deviation of each channel, likewise.")] = None,
    color_order: Annotated[
        Literal["RGB", "BGR"] | None, typer.Option(help="Order of the channels, likewise; default: RGB.")
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Images a calibration batch; larger ones give steadier positions. Default: 32."),
    ] = None,
    batch_sizes: Annotated[str | None, typer.Option(help="Instead: the size of every batch, as 8,8,5.")] = None,
    limit: Limit = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="DFDC metadata.json for a folder of crops, or a .npy of class indices, one an image."),
    ] = None,
    evaluate: Annotated[int, typer.Option(min=0, help="Compare float and quantized on so many of the images.")] = 16,
    report_images: Annotated[
        int, typer.Option(min=0, help="Rank the layers by their cost on so many of the images; 0 leaves it out.")
    ] = 4,
    equalize: Annotated[bool, typer.Option(help="Cross-layer equalization, as the vendor's tool does it.")] = True,
    bias_correction: Annotated[bool, typer.Option(help="Bias correction, as the vendor's tool does it.")] = True,
    fast_finetune: Annotated[
        bool,
        typer.Option(
            "--fast-finetune",
            help="The vendor's fast finetune (AdaQuant): one step a batch, so give it 100 small batches or more.",
        ),
    ] = False,
    learn_rounding: Annotated[
        bool,
        typer.Option(
            "--learn-rounding", help="Learn for each weight whether to round it up or down; a few images are enough."
        ),
    ] = False,
    finetune_images: Annotated[
        int | None, typer.Option(min=1, help="Finetune on so many of the images. Default: 128.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="The vendor's JSON configuration; what a DPU cannot have is refused.")
    ] = None,
    backend: Annotated[
        Literal["auto", "unmask", "vitis"],
        typer.Option(help="Whose quantizer: unmask's own, which auto prefers, or the vendor's (pytorch_nndct)."),
    ] = "auto",
    vitis_python: Annotated[
        Path | None,
        typer.Option(help="The Python that has pytorch_nndct; default: this one, conda's vitis-ai-*, python3."),
    ] = None,
    golden: Annotated[
        bool, typer.Option("--golden", help="Embed the first image and every tensor it leads to, for xmodel verify.")
    ] = False,
    device: Annotated[str, typer.Option(help="Where calibration computes: cpu, cuda or auto.")] = "cpu",
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("build/quantize"),
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Calibrate a network to power-of-two int8.

    Writes <Name>_int.xmodel, quant_info.json, bias_corr.npz and a report. After Ctrl-C the same command goes on.
    """
    from dataclasses import replace

    from deploy import finetuning
    from deploy.calibration import find, split
    from deploy.judge import demand
    from deploy.quantize_stage import QuantizeJob, quantize_stage
    from deploy.report import seconds
    from deploy.sources import ImageOptions, NetworkOptions
    from deploy.vendor_quantizer import choose
    from quantize.config import VendorConfig, read_config
    from quantize.device import resolve

    output = Output.of(context, json, quiet)
    if backend != "vitis":  # the vendor's torch may see a GPU that ours does not
        resolve(device)
    method, tuned_on = finetuning.choose(fast_finetune, learn_rounding, finetune_images, backend)
    vendor = read_config(config) if config else VendorConfig()
    settings = replace(vendor.settings(equalize, bias_correction, device), finetune=method)
    images = find(calib, limit, split(batch_size, batch_sizes))
    options = ImageOptions(input_size, mean, std, color_order)
    source = NetworkOptions(model, module, program, weights, seed, name).source(options, images.shape)
    vitis = choose(backend, settings, vitis_python, config)
    job = QuantizeJob(
        source, images, out, settings, labels, evaluate, report_images, vendor.notes, vitis, golden, tuned_on
    )
    report, ran = quantize_stage(job, output)
    state = seconds(report["seconds"]) if ran else "up to date"
    output.result(
        report,
        f"Quantized {report['network']} on {report['images']} images ({state}): {report['xmodel']}",
        *_shown(report),
        f"Report: {out / 'quant_report.html'}",
    )
    known = labels if labels and labels.suffix.lower() != ".npy" else None
    demand({**report, "missing_labels": [], "accuracy": None}, known, output)


def _shown(report: dict[str, Any]) -> list[RenderableType]:
    """The report's tables."""
    from deploy import tables

    shown: list[RenderableType] = []
    if compared := report["comparison"]:
        shown += [tables.scores(compared["forms"]), tables.agreement(compared["agreement"])]
    if found := report["fidelity"]:
        shown.append(tables.fidelity(found))
        shown += [tables.top1_line(found["top1"])] if found["top1"] else []
    ranking = report["ranking"]
    return [*shown, report["summary"], tables.ranking(ranking) if ranking else tables.layers(report["layers"], worst=5)]
