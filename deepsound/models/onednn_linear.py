"""Linear layers that a CPU computes by oneDNN.

PyTorch gives float32 products on a CPU to MKL, which takes twice as long as oneDNN on processors that Intel did
not make. Of tensors in oneDNN's own layout it asks oneDNN; of bfloat16 it does so anyhow.
"""

import torch
from torch import Tensor, nn
from torch.backends import mkldnn


class Linear(nn.Linear):
    """A linear layer. Takes and gives tensors in oneDNN's layout as well as PyTorch's own."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        """(..., in_features) to (..., out_features)."""
        if gains_from_onednn(input):
            return super().forward(input.to_mkldnn()).to_dense()
        return super().forward(input)


def gains_from_onednn(x: Tensor) -> bool:
    """Whether products of `x`, in PyTorch's layout, are faster in oneDNN's."""
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and not x.is_mkldnn
    return plain and mkldnn.is_available() and not (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"))
