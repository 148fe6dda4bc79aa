"""What accelerate's launcher and its configuration say, and what of it reaches a run.

`accelerate launch`, its `default_config.yaml` and whoever exports variables speak to accelerate
through the environment. A run heeds of that which processes there are and where; everything else
is an option of its own, or refused. Imports no accelerate, which reads some of it when imported.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from analyze.errors import UsageError

_TRUE = {"y", "yes", "t", "true", "on", "1"}
_FALSE = {"n", "no", "f", "false", "off", "0"}


def _truth(value: str) -> bool:
    return value.lower() in _TRUE | _FALSE


def _level(value: str) -> bool:
    return value.upper() in logging.getLevelNamesMapping()


# What a run heeds, none of which changes what it computes but for what config.json records of it
# (device, processes, threads).
_HEEDED: dict[str, tuple[str, Callable[[str], bool]]] = {
    "ACCELERATE_USE_CPU": ("true or false", _truth),
    "ACCELERATE_CPU_AFFINITY": ("true or false", _truth),
    "ACCELERATE_DEBUG_MODE": ("true or false", _truth),
    "ACCELERATE_ENABLE_RICH": ("true or false", _truth),
    "ACCELERATE_LOG_LEVEL": ("a level of Python's logging", _level),
    "FORK_LAUNCHED": ("true or false", _truth),
}
# What would divide the model, or train it by another library.
_REFUSED = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism configuration",
    "ACCELERATE_USE_SAGEMAKER": "SageMaker",
}
# What is an option here: its value that says nothing, and the option.
_OPTIONS = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ("1", "--grad-accum"),
    "ACCELERATE_DYNAMO_BACKEND": ("no", "--compile"),
    "ACCELERATE_MIXED_PRECISION": ("no", "--mixed-precision"),
}


def settle() -> None:
    """Leave of accelerate's environment only what a run heeds, and say what it does not.

    Raises:
        UsageError: on what cannot be had here, or a value that has no meaning.
    """
    for name, (rule, holds) in _HEEDED.items():
        value = os.environ.get(name)
        if value == "":  # as good as unset, which accelerate does not know
            del os.environ[name]
        elif value is not None and not holds(value):
            raise UsageError(f"{name} must be {rule}, got {value!r}")
    for name, library in _REFUSED.items():
        if os.environ.get(name, "false").lower() in _TRUE:
            raise UsageError(
                f"{name} asks accelerate for {library}, which is not supported: a run divides its "
                "batches among processes, and nothing else (accelerate launch --multi_gpu, or "
                "another --config_file)"
            )
    if device := os.environ.get("ACCELERATE_TORCH_DEVICE"):
        raise UsageError(
            f"ACCELERATE_TORCH_DEVICE={device} is not supported: choose GPUs by "
            "CUDA_VISIBLE_DEVICES, and the CPU by ACCELERATE_USE_CPU=true"
        )
    for name, (silent, option) in _OPTIONS.items():
        value = os.environ.get(name) or silent
        if value.lower() != silent and os.environ.get("RANK", "0") == "0":
            print(f"{name}={value} is not heeded: the option here is {option}", flush=True)
    for name in [name for name in os.environ if name.startswith("ACCELERATE_")]:
        if name not in _HEEDED:
            del os.environ[name]
    # accelerate would train on XLA wherever torch_xla is installed.
    os.environ["USE_TORCH_XLA"] = "false"


def on(name: str) -> bool:
    """Whether a variable of accelerate's says yes."""
    return os.environ.get(name, "false").lower() in _TRUE
