"""What XIR's own op types take: their arguments and attributes, with attribute kinds.

Format facts, printed from the op registry of libxir 2.5. libxir aborts on an op that lacks a required
argument or attribute, or whose attribute is of another kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

# Op types: arguments ("+" one or more, "?" may be absent) | kind and attributes ("?" may be absent) | ...
_TABLE = """
add div max min mul sub: input+
avgpool2d: input | int32_vec kernel stride pad? | string pad_mode \
| bool global? count_include_pad? count_include_invalid?
batchnorm: input gamma beta moving_mean moving_var | int32 axis | float epsilon
celu elu: input | float alpha?
concat concat-fix stack: input+ | int32 axis
const const-fix: | int32_vec shape | string data_type | bytes data
conv2d conv3d depthwise-conv2d: input weights bias? | int32_vec kernel stride dilation? pad? | string pad_mode
depthwise-conv3d transposed-conv2d: input weights bias? | int32_vec kernel stride dilation? pad? | string pad_mode
transposed-conv3d: input weights bias? | int32_vec kernel stride dilation? pad? | string pad_mode
transposed-depthwise-conv2d: input weights bias? | int32_vec kernel stride dilation? pad? | string pad_mode
transposed-depthwise-conv3d: input weights bias? | int32_vec kernel stride dilation? pad? | string pad_mode
conv2d-fix conv3d-fix: input weights bias? | int32_vec kernel stride dilation? pad? | string nonlinear? \
| int32 hsigmoid_in? shift_hsigmoid? shift_hswish?
data data-fix: | int32_vec shape | string data_type
depthwise-conv2d-fix: input weights bias? | int32_vec kernel stride dilation? pad? | string nonlinear?
depthwise-conv3d-fix: input weights bias? | int32_vec kernel stride dilation? pad? | string nonlinear?
transposed-conv2d-fix: input weights bias? | int32_vec kernel stride dilation? pad? | string nonlinear?
transposed-conv3d-fix: input weights bias? | int32_vec kernel stride dilation? pad? | string nonlinear?
transposed-depthwise-conv2d-fix: input weights bias? | int32_vec kernel stride dilation? pad? | string nonlinear?
transposed-depthwise-conv3d-fix: input weights bias? | int32_vec kernel stride dilation? pad? | string nonlinear?
depthwise-fix: input+ | string type?
download exp gelu hard-sigmoid hard-sigmoid-fix hard-swish hard-tanh identity neg placeholder relu relu6: input
selu shape sigmoid swish tanh upload: input
downsample-fix upsample-fix: input size? | string mode | bool align_corners? half_pixel_centers? | float_vec scale
eltwise-fix: input+ | string nonlinear? type?
fix fix2float float2fix: input | int32 fix_point bit_width | string round_mode | bool if_signed
flatten: input | int32 start_axis end_axis
gstiling tile-fix: input | bool reverse | int32 stride
inner-product: input weights bias? | int32 axis
l2_normalize: input | int32_vec axis? | double epsilon?
leaky-relu: input | float alpha
matmul: input+ bias? | bool transpose_a transpose_b
maxpool2d: input | int32_vec kernel stride pad? | string pad_mode | bool global?
pad: input | int32_vec paddings | string mode | float_vec constant_values?
pad-fix: input | int32_vec paddings | string mode | bytes constant_values?
pixel-shuffle: input | int32 scale | bool upscale
pixel-shuffle-fix reorg reorg-fix: input | int32 scale | bool reverse
pool-fix: input | int32_vec kernel stride pad? | string type
priorbox: input+ | float_vec min_sizes max_sizes? aspect_ratio? variance step | bool flip clip | float offset
random_standard_normal: | int32_vec shape | string data_type | int32 seed? seed2?
reduction_max reduction_mean reduction_product reduction_sum: input | int32_vec axis | bool keep_dims
reshape: input shape? | int32_vec shape?
reshape-fix: input | int32_vec shape
resize: input size? | string mode | bool align_corners? half_pixel_centers? | float_vec scale?
scale: input scale bias? | int32 axis?
softmax: input | int32 axis
squeeze: input | int32_vec axis?
strided_slice: input | int32_vec begin end strides
threshold: input threshold
transpose: input | int32_vec order
"""


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument: how many ops it takes (`most` None: any number)."""

    name: str
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute, its kind (as in `Attr.kind`), and whether it may be absent."""

    name: str
    kind: str
    optional: bool


@dataclass(frozen=True, slots=True)
class Definition:
    """An op type's arguments and attributes."""

    arguments: tuple[Argument, ...]
    attributes: tuple[Attribute, ...]


@cache
def definitions() -> Mapping[str, Definition]:
    """The definitions of XIR's own op types, by type."""
    found: dict[str, Definition] = {}
    for line in _TABLE.strip().splitlines():
        types, _, rest = line.partition(":")
        arguments, *groups = rest.split("|")
        definition = Definition(
            tuple(_argument(word) for word in arguments.split()),
            tuple(
                Attribute(word.rstrip("?"), kind, word.endswith("?"))
                for kind, *words in (group.split() for group in groups)
                for word in words
            ),
        )
        found.update(dict.fromkeys(types.split(), definition))
    return MappingProxyType(found)


def _argument(word: str) -> Argument:
    least = 0 if word.endswith("?") else 1
    return Argument(word.rstrip("?+"), least, None if word.endswith("+") else 1)
