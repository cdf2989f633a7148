"""Objects as bytes for another process. What is large and used again and again is sent once and then referred to."""

from __future__ import annotations

import io
import os
import pickle
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytest_saliency.errors import MethodError, SaliencyError, SubjectError, first_line, raised

References = Mapping[int, tuple[str, str]]
"""By ``id`` of an object: what kind of thing it is, and the key under which the other process finds it."""


def packed(value: object, what: str, known: References | None = None) -> bytes:
    """Return ``value`` as bytes, with references in place of the objects in ``known``.

    Raises
    ------
    SubjectError
        It cannot be pickled; ``what`` names it in the message.
    """
    from ray import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def persistent_id(self, obj: object) -> tuple[str, str] | None:
            return (known or {}).get(id(obj))

        def reducer_override(self, obj: object) -> Any:
            if type(obj) is Tensor and _is_view(obj):
                # Of a view torch would send the whole storage, for one image those of all.
                return torch.from_numpy, (np.array(obj.detach().numpy()),)
            return super().reducer_override(obj)

    made = io.BytesIO()
    # The other process imports from where this one does; what is put there later comes with what needs it.
    pickle.dump([os.path.abspath(one) for one in sys.path], made)  # noqa: PTH100
    try:
        Pickler(made, protocol=5).dump(value)
    except SaliencyError:
        raise
    except Exception as error:
        raise SubjectError(
            f"{what} cannot be sent to Ray workers, because pickling it {raised(error)}. Leave out what belongs to one"
            " process (locks, open files, connections, generators), or run without --saliency-ray."
        ) from error
    return made.getvalue()


def unpacked(content: bytes, find: Callable[[str, str], object] | None = None) -> Any:
    """Return what was packed; ``find`` returns the object of a reference.

    Raises
    ------
    MethodError
        Code that it is made of cannot be imported in this process.
    """

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, pid: Any) -> Any:
            if find is None:
                raise pickle.UnpicklingError("a reference where none is known")
            return find(*pid)

    try:
        stream = io.BytesIO(content)
        sys.path[:0] = [one for one in pickle.load(stream) if one not in sys.path]
        return Unpickler(stream).load()
    except (ImportError, AttributeError) as error:
        import socket

        raise MethodError(
            f"a Ray worker on {socket.gethostname()} cannot import what the model or the method is made of"
            f" ({first_line(error)}); every machine of the cluster needs the same packages, and the repository in the"
            " same folder."
        ) from error


def _is_view(tensor: Tensor) -> bool:
    """Tell whether a plain tensor shows a part of its memory only."""
    if tensor.device.type != "cpu" or tensor.layout != torch.strided or tensor.requires_grad or tensor.is_quantized:
        return False
    if tensor.dtype in (torch.bfloat16, torch.complex32) or tensor.is_conj() or tensor.is_neg():
        return False
    return tensor.untyped_storage().nbytes() > tensor.numel() * tensor.element_size()
