"""A device other than the CPU, for machines without a GPU.

Its tensors say that they are on "remote" and keep their numbers on the CPU, which computes for
them. Two things are as on a GPU: operations refuse tensors of both devices, and what moves or
reads numbers makes the CPU wait. `WAITS` lists where in the project that happened.
"""

from __future__ import annotations

import traceback
from contextlib import ExitStack
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

ROOT = Path(__file__).parents[2]
WAITS: list[str] = []
aten = torch.ops.aten

READS = {
    aten._local_scalar_dense.default,
    aten.bincount.default,
    aten.equal.default,
    aten.masked_select.default,
    aten.nonzero.default,
}


class Backend(backend_registration._DummyBackendModule):
    """What torch asks of a device."""

    def get_amp_supported_dtype(self):
        return [torch.bfloat16]


backend_registration._setup_privateuseone_for_python_backend("remote", backend_module=Backend())
DEVICE = torch.device("remote:0")


class Remote(torch.Tensor):
    """A tensor of the device; `numbers` is what it holds."""

    @staticmethod
    def __new__(cls, numbers):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            numbers.shape,
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            device=DEVICE,
        )

    def __init__(self, numbers):
        self.numbers = numbers

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        with Operations():
            return func(*args, **(kwargs or {}))


class Operations(TorchDispatchMode):
    """Computes on the CPU what is asked of the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        here = any(isinstance(t, Remote) for t in tensors)
        to = kwargs.get("device")
        there = here if to is None else torch.device(to).type == "remote"
        moves = func in (aten._to_copy.default, aten.copy_.default)
        if moves:
            _note_if(there != here or len({type(t) for t in tensors}) > 1)
        # A number may come from the CPU, as it may on a GPU.
        elif here and any(t.dim() for t in tensors if not isinstance(t, Remote)):
            raise RuntimeError(f"{func} of tensors on {DEVICE} and on the CPU")
        masks = func is aten.index.Tensor and any(
            t is not None and t.dtype == torch.bool for t in args[1]
        )
        _note_if(here and (func in READS or masks))

        own = {id(t.numbers): t for t in tensors if isinstance(t, Remote)}
        args, kwargs = tree_map(_numbers, (args, kwargs))
        if there and to is not None:
            kwargs["device"] = torch.device("cpu")
        if func is aten._fused_sgd_.default:
            func = _sgd_in_any_memory_format
        result = func(*args, **kwargs)
        if not there:
            return result

        def at_home(value):
            if not isinstance(value, torch.Tensor):
                return value
            # An operation in place gives back the tensor that it was given.
            return own[id(value)] if id(value) in own else Remote(value)

        return tree_map(at_home, result)


class Constructors(TorchFunctionMode):
    """What torch does not dispatch: tensors from Python's numbers, and their way back."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and not isinstance(args[0], torch.Tensor):
            to = kwargs.pop("device", None) or "cpu"
            made = func(*args, **kwargs)
            return made.to(to) if torch.device(to).type == "remote" else made
        if func is torch.Tensor.tolist and isinstance(args[0], Remote):
            _note_if(True)
            return args[0].numbers.tolist()
        return func(*args, **kwargs)


def emulated() -> ExitStack:
    """A context in which the device is there."""
    stack = ExitStack()
    stack.enter_context(Constructors())
    stack.enter_context(Operations())
    return stack


def _sgd_in_any_memory_format(parameters, gradients, momenta, **settings):
    """The kernel wants all in one format, which torch sees to where it knows the device."""
    packed = [[t.contiguous() for t in group] for group in (parameters, gradients, momenta)]
    aten._fused_sgd_.default(*packed, **settings)
    for group, results in zip((parameters, momenta), packed[::2], strict=True):
        for tensor, result in zip(group, results, strict=True):
            tensor.copy_(result)


def _numbers(value):
    return value.numbers if isinstance(value, Remote) else value


def _note_if(waits: bool) -> None:
    if not waits:
        return
    ours = [
        f"{Path(frame.filename).name}:{frame.name}"
        for frame in traceback.extract_stack()
        if Path(frame.filename).parent in (ROOT / "experiments", ROOT / "clsloss")
    ]
    WAITS.append(ours[-1] if ours else "elsewhere")
