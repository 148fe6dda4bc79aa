"""Filter the settings that `accelerate launch` passes to a run through the environment.

`accelerate launch`, its `default_config.yaml` and exported variables configure accelerate through
the environment. A run uses only those that say which processes there are, and where. For
everything else it has its own options, or refuses. This module must not import accelerate, which
reads some variables on import.
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


# Variables that a run uses. They affect results only through device, processes and threads, which
# config.json records.
_HEEDED: dict[str, tuple[str, Callable[[str], bool]]] = {
    "ACCELERATE_USE_CPU": ("true or false", _truth),
    "ACCELERATE_CPU_AFFINITY": ("true or false", _truth),
    "ACCELERATE_DEBUG_MODE": ("true or false", _truth),
    "ACCELERATE_ENABLE_RICH": ("true or false", _truth),
    "ACCELERATE_LOG_LEVEL": ("a level of Python's logging", _level),
    "FORK_LAUNCHED": ("true or false", _truth),
}
# Variables that would shard the model, or train it with another library.
_REFUSED = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism configuration",
    "ACCELERATE_USE_SAGEMAKER": "SageMaker",
}
# Variables that an option replaces: the default value, and the option.
_OPTIONS = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ("1", "--grad-accum"),
    "ACCELERATE_DYNAMO_BACKEND": ("no", "--compile"),
    "ACCELERATE_MIXED_PRECISION": ("no", "--mixed-precision"),
}


def settle() -> None:
    """Remove accelerate's variables that a run does not use, and say which settings it ignores.

    Raises:
        UsageError: on settings that are not supported, and on invalid values.
    """
    for name, (rule, holds) in _HEEDED.items():
        value = os.environ.get(name)
        if value == "":  # means unset, but accelerate would fail on it
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
    for name, (default, option) in _OPTIONS.items():
        value = os.environ.get(name) or default
        if value.lower() != default and os.environ.get("RANK", "0") == "0":
            print(f"{name}={value} is ignored: the option here is {option}", flush=True)
    for name in [name for name in os.environ if name.startswith("ACCELERATE_")]:
        if name not in _HEEDED:
            del os.environ[name]
    # accelerate would train on XLA if torch_xla is installed.
    os.environ["USE_TORCH_XLA"] = "false"


def on(name: str) -> bool:
    """Whether a variable of accelerate is true."""
    return os.environ.get(name, "false").lower() in _TRUE
