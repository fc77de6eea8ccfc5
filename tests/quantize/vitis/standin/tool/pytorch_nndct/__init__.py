"""A stand-in for the vendor's quantizer: its calls, files, messages and exit codes, and nothing of its arithmetic.

Python 3.6 syntax. Environment: STANDIN_ANSWERS is a folder with what it is to "compute" (quant_info.json,
bias_corr.json, model.xmodel, out0.npy ...), STANDIN_FAULT how it is to fail, STANDIN_VERSION 1.4.1 for the
calls and files of that version, else 3.5.0.
"""

import os
import sys

__version__ = os.environ.get("STANDIN_VERSION", "3.5.0")

if os.environ.get("STANDIN_FAULT") == "import":
    print("[VAIQ_ERROR][QUANTIZER_TORCH_TORCH_VERSION]: torch is too new.")
    sys.exit(1)
