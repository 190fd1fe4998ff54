"""Small networks that look at a part: a residual convolutional one, and a vision transformer.

Ideas (the code is our own):
    residual blocks, He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016,
    https://arxiv.org/abs/1512.03385
    group normalisation, Wu, He: Group Normalization, ECCV 2018, https://arxiv.org/abs/1803.08494
    vision transformer, Dosovitskiy et al.: An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale,
    ICLR 2021, https://arxiv.org/abs/2010.11929 (section 3.1)

Letters in shapes: B images, C channels, S edge in pixels, W width, P patches, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STAGES = 3
"""Of the convolutional network; each but the first halves the edge and doubles the width."""
GROUP = 8
"""Channels that are normalised together."""
MIDDLE, SPREAD = 0.5, 0.25
"""Brightness that becomes 0, and what is added to it to become 1."""
HEAD = 16
"""Channels of an attention head."""


class Block(nn.Module):
    """Two convolutions beside a shortcut. Shapes: (B, inputs, S, S) to (B, outputs, S / stride, S / stride)."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.first_norm = nn.GroupNorm(outputs // GROUP, outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = nn.GroupNorm(outputs // GROUP, outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.second_norm.weight)  # a block begins as its shortcut

    def forward(self, seen: Tensor) -> Tensor:
        """What the block makes of it, added to what came in."""
        hidden = functional.relu(self.first_norm(self.first(seen)))
        return functional.relu(self.second_norm(self.second(hidden)) + self.shortcut(seen))


class Convolutional(nn.Module):
    """Residual stages; what they find is averaged over the image and looked up at its strongest: a defect is small.

    No layer mixes images of a batch, so that it may be shared out among processes. Shapes: (B, C, S, S) to (B, K).
    """

    def __init__(self, *, channels: int, width: int, depth: int, classes: int, dropout: float) -> None:
        super().__init__()
        widths = [width * 2**stage // GROUP * GROUP for stage in range(STAGES)]
        self.stem = nn.Conv2d(channels, widths[0], 5, stride=2, padding=2, bias=False)
        self.stem_norm = nn.GroupNorm(widths[0] // GROUP, widths[0])
        self.blocks = nn.ModuleList()
        for stage, outputs in enumerate(widths):
            for block in range(depth):
                begins = stage > 0 and block == 0
                inputs = widths[stage - 1] if begins else outputs
                self.blocks.append(Block(inputs, outputs, stride=2 if begins else 1))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * widths[-1], classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of the classes."""
        hidden = functional.relu(self.stem_norm(self.stem((image - MIDDLE) / SPREAD)))
        for block in self.blocks:
            hidden = block(hidden)
        found = torch.cat([hidden.mean(dim=(2, 3)), hidden.amax(dim=(2, 3))], dim=1)
        logits: Tensor = self.head(self.dropout(found))
        return logits


class Layer(nn.Module):
    """Self-attention and a small network, each beside a shortcut. Shapes: (B, P, W) to the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(width // HEAD, 1)
        self.attention_norm, self.network_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asked = nn.Linear(width, 3 * width)
        self.answered = nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Patches with what others told them."""
        batch, patches, width = hidden.shape
        parts = self.asked(self.attention_norm(hidden)).view(batch, patches, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        told = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, patches, width)
        hidden = hidden + self.answered(told)
        return hidden + self.outer(functional.gelu(self.inner(self.network_norm(hidden))))


class VisionTransformer(nn.Module):
    """Patches as words. Shapes: (B, C, S, S) to (B, K)."""

    def __init__(
        self, *, channels: int, size: int, patch: int, width: int, depth: int, classes: int, dropout: float
    ) -> None:
        super().__init__()
        width = max(width // HEAD, 1) * HEAD
        self.cut = nn.Conv2d(channels, width, patch, stride=patch)
        self.place = nn.Parameter(0.02 * torch.randn(1, (size // patch) ** 2, width))
        self.layers = nn.ModuleList(Layer(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of the classes."""
        hidden = self.cut((image - MIDDLE) / SPREAD).flatten(2).transpose(1, 2) + self.place
        for layer in self.layers:
            hidden = layer(hidden)
        hidden = self.norm(hidden)
        logits: Tensor = self.head(self.dropout(torch.cat([hidden.mean(dim=1), hidden.amax(dim=1)], dim=1)))
        return logits
