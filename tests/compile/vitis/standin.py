"""A stand-in for `vai_c_xir`: it prints what the vendor's compiler prints and fails as that does; env says how.

Run as a program; STANDIN_ANSWER is the compiled file that it hands out, STANDIN_FAULT how it misbehaves.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path


def say(text: str) -> None:
    """One line on stderr, where glog writes."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Compile, so to speak."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for short, long in (("x", "xmodel"), ("a", "arch"), ("o", "output_dir"), ("n", "net_name")):
        parser.add_argument(f"-{short}", f"--{long}", required=True)
    parser.add_argument("-e", "--options", default="{}")
    given = parser.parse_args()
    fault, out = os.environ.get("STANDIN_FAULT", ""), Path(given.output_dir)
    target = json.loads(Path(given.arch).read_text())["target"]
    assert Path(given.xmodel).stat().st_size
    print("*" * 50 + "\nVITIS_AI Compilation - Xilinx Inc.\n" + "*" * 50, flush=True)
    folder = Path(os.environ.get("STANDIN_LOGS", "/nowhere")) / "xcompiler-20231023-114843-116"
    say(f'[UNILOG][INFO] The compiler log will be dumped at "{folder}"')
    if fault == "target":
        say("[UNILOG][FATAL][TARGET_FACTORY_UNREGISTERED_TARGET][Unregistered target!] Cannot find or create target")
        say("*** Check failure stack trace: ***")
        os.kill(os.getpid(), signal.SIGABRT)
    prefix = "I20231023 11:48:43.061691   116 compile_pass_manager.cpp:489] " if fault == "glog" else "[UNILOG][INFO] "
    say(f"{prefix}Target architecture: {target}")
    say(f"{prefix}Graph name: Net, with op num: 12")
    say(f"{prefix}Begin to compile...")
    if fault == "hang":
        (Path(os.environ["STANDIN_LOGS"]) / "pid").write_text(str(os.getpid()))
        time.sleep(600)
    if fault in ("abort", "named", "empty log"):
        folder.mkdir(parents=True)
        if fault == "named":
            (folder / "pass.log").write_text("visiting dw\nvisiting c and its relu r\n")
        say("F20231023 11:48:44.061691   116 pass.cpp:12] [UNILOG][FATAL][XCOM_PM_FAIL][The pass failed!] step 3")
        say("*** Check failure stack trace: ***")
        os.kill(os.getpid(), signal.SIGABRT)
    if fault == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if fault == "lies":  # a fatal error, an exit code of 0, no file
        say("[UNILOG][FATAL][XCOM_WHAT_IS_THIS][Nobody knows.]")
        return 0
    if fault == "nothing":
        return 0
    data = Path(os.environ["STANDIN_ANSWER"]).read_bytes()
    digest = hashlib.md5(data).hexdigest()
    count = os.environ.get("STANDIN_COUNT", "1")
    say(f"{prefix}Total device subgraph number 4, DPU subgraph number {count}")
    say(f"{prefix}Compile done.")
    (out / f"{given.net_name}.xmodel").write_bytes(data[: len(data) // 2] if fault == "cut" else data)
    if fault != "no meta":
        (out / "meta.json").write_text(json.dumps({"target": "DPUv4E", "filename": f"{given.net_name}.xmodel"}))
    (out / "md5sum.txt").write_text("0" * 32 if fault == "md5" else digest)
    (out / "options.json").write_text(given.options)
    say(f'{prefix}The compiled xmodel\'s md5sum is {digest}, and has been saved to "{out}/md5sum.txt"')
    return 3 if fault == "exit" else 0


if __name__ == "__main__":
    sys.exit(main())
