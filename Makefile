# Unmask: `make` runs the main job, `make help` lists everything else.

PYTHON  ?= python3
MODEL   ?= uynet-lite
WEIGHTS ?=
CALIB   ?=
CROPS   ?=
LABELS  ?=
TARGET  ?=
DEVICE  ?=
BACKEND ?=
THREADS ?=
VITIS_PYTHON ?=
VITIS_COMPILER ?=
OUT     ?= build

VENV    := .venv
READY   := $(VENV)/.ready
KERNELS := $(VENV)/.ready-kernels
UNMASK  := $(VENV)/bin/unmask
SAMPLES := $(OUT)/samples

# Without CALIB or CROPS a stage takes the sample set, and makes it first.
calib   := $(or $(CALIB),$(SAMPLES)/calib)
crops   := $(or $(CROPS),$(SAMPLES)/unseen)
labels  := $(or $(LABELS),$(if $(CROPS),,$(SAMPLES)/metadata.json))
network  = --model "$(MODEL)" $(call option,weights,$(WEIGHTS))
compare  = $(UNMASK) compare $(network) --quantized "$(OUT)/quantize" --compiled "$(OUT)/compile" \
           --crops "$(crops)" $(call option,labels,$(labels)) --out "$(OUT)/compare"
option   = $(if $(2),--$(1) "$(2)")

.DEFAULT_GOAL := all
.NOTPARALLEL:
.PHONY: all help setup fetch samples quantize compile infer compare validate test lint bench clean

all: setup ## The main job (what plain `make` does): every stage in order, then a table and the report
	@$(MAKE) --no-print-directory quantize compile infer
	@$(compare); status=$$?; $(UNMASK) summary "$(OUT)"; exit $$status

help: ## This list
	@echo "Usage: make [TARGET...] [VARIABLE=value...]"
	@echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-12s%s\n", $$1, $$2 }'
	@echo
	@echo "Variables (in brackets: what is taken without them)"
	@echo "  WEIGHTS   its float weights: .safetensors, or a checkpoint such as checkpoint_epoch_224x224_35.pth [those shipped]"
	@echo "  MODEL     uynet-lite or uynet, for quantize and compare [uynet-lite]"
	@echo "  CALIB     folder of face crops to calibrate on, for quantize [the sample set]"
	@echo "  CROPS     folder of unseen face crops, for infer and compare [the sample set]"
	@echo "  LABELS    DFDC metadata.json that labels CROPS [that of the sample set, none with CROPS]"
	@echo "  BACKEND   what quantizes and compiles: unmask, or vitis for the vendor's tools, pytorch_nndct in the Python"
	@echo "            VITIS_PYTHON and vai_c_xir, VITIS_COMPILER [unmask; to compile, vai_c_xir where it is found]"
	@echo "  TARGET    DPU to compile for: a name, alias or fingerprint [DPUCVDX8H_ISA1_F2W2_8PE, the VCK5000]"
	@echo "  DEVICE    what infer runs on: emulator, or card, through the vendor's xir and vart in the Python VITIS_PYTHON"
	@echo "            [the card where it can be used, else the emulator]"
	@echo "  THREADS   runner threads of infer [chosen for the machine]"
	@echo "  OUT       folder of all results; each stage has its own folder in it [build]"
	@echo "  PYTHON    interpreter, 3.11 or newer, that makes .venv [python3]"
	@echo
	@echo "A stage takes what the stage before it left in OUT: infer runs the model compiled last. Use another OUT"
	@echo "to keep two models side by side. What is up to date is not done again."

setup: $(READY) $(KERNELS) ## Install into .venv what constraints.txt pins; build the native kernels if there is a C++ compiler

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Unmask needs Python 3.11 or newer, and $(PYTHON) is: $$($(PYTHON) --version 2>&1)." \
	       "Name another one: make PYTHON=python3.12" >&2; exit 3; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "Cannot make $(VENV); on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 3; }
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check --no-compile -c constraints.txt -e '.[test]'
	@touch $@

$(KERNELS): $(READY) $(wildcard runtime/emulator/native/src/*) runtime/emulator/native/build.py
	@$(VENV)/bin/python -m runtime.emulator.native.build
	@touch $@

$(VENV)/.ready-fetch: $(READY)
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check --no-compile -c constraints.txt -e '.[fetch]'
	@touch $@

$(VENV)/.ready-bench: $(READY)
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check --no-compile -c constraints.txt -e '.[bench]'
	@touch $@

fetch: $(VENV)/.ready-fetch ## Bring the published weights and data to OUT/fetched
	@$(UNMASK) fetch --out "$(OUT)/fetched"

samples: setup ## Make the offline sample set
	@$(UNMASK) samples --out "$(SAMPLES)"

quantize: setup $(if $(CALIB),,samples) ## Float weights to INT8: MODEL, WEIGHTS, CALIB, BACKEND
	@$(UNMASK) quantize $(network) --calib "$(calib)" \
	  $(call option,labels,$(if $(CALIB),,$(SAMPLES)/metadata.json)) $(call option,backend,$(BACKEND)) \
	  $(if $(filter card/ card/unmask,$(DEVICE)/$(BACKEND)),,$(call option,vitis-python,$(VITIS_PYTHON))) \
	  --out "$(OUT)/quantize"

compile: setup ## The model quantized last to a deployable one: TARGET, BACKEND
	@$(UNMASK) compile "$(OUT)/quantize" $(call option,target,$(TARGET)) $(call option,backend,$(BACKEND)) \
	  $(call option,vitis-compiler,$(VITIS_COMPILER)) --out "$(OUT)/compile"

infer: setup $(if $(CROPS),,samples) ## Masks, scores and a report from the model compiled last: CROPS, LABELS, THREADS, DEVICE
	@$(UNMASK) infer "$(OUT)/compile" --crops "$(crops)" $(call option,labels,$(labels)) \
	  $(call option,threads,$(THREADS)) $(call option,device,$(DEVICE)) \
	  $(if $(filter card,$(DEVICE)),$(call option,vitis-python,$(VITIS_PYTHON))) --out "$(OUT)/infer"

compare: setup $(if $(CROPS),,samples) ## Float against quantized and compiled: CROPS, LABELS; MODEL, WEIGHTS as for quantize
	@$(compare)

validate: setup ## Is the card healthy: bus, drivers, tools, link, power, temperatures, and its own tests
	@$(UNMASK) card check

test: lint ## All checks and tests
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist loadgroup

lint: setup ## ruff and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(VENV)/.ready-bench setup ## Speed of the emulator's kernels beside OpenVINO, ONNX Runtime, torch and fake quantization
	@$(UNMASK) bench

clean: ## Remove the stages' results from OUT; .venv and what was fetched stay
	rm -rf $(foreach stage,samples quantize compile infer compare evaluate,"$(OUT)/$(stage)")
