"""Gated recurrent units over a masked history, with DIEN's ways of letting attention into the gates."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

EvolutionGate = Literal["gru", "aigru", "agru", "augru"]


class AttentionalGRU(nn.Module):
    """h' = (1 - u) h + u tanh(Wn x + r (Un h)), with r and u sigmoids of x and h (DIEN, arXiv 1809.03672, section 4.3).

    Attention a in [0, 1] enters by `gate`: `gru` ignores it; `aigru` scales the input, x := a x; `agru` puts it in the
    place of the update gate, u := a; `augru` scales that gate, u := a u. A masked step keeps the state. Written out, so
    that it exports to ONNX for a history length that is known then.
    """

    def __init__(self, width_in: int, width: int, gate: EvolutionGate = "gru") -> None:
        super().__init__()
        if gate not in get_args(EvolutionGate):
            raise ValueError(f"gate must be one of {', '.join(get_args(EvolutionGate))}, is {gate!r}")
        self.gate, self.width = gate, width
        self.of_input = nn.Linear(width_in, 3 * width)
        self.of_state = nn.Linear(width, 3 * width, bias=False)

    def forward(self, values: Tensor, mask: Tensor, attention: Tensor | None = None) -> Tensor:
        """States (..., L, H) after each step of `values` (..., L, D); `mask` and `attention` are (..., L)."""
        inputs = self._inputs(values, attention)  # (..., L, 3 H)
        state = torch.zeros_like(inputs[..., 0, : self.width])
        states = []
        for step in range(values.shape[-2]):
            share = None if attention is None else attention[..., step, None]
            moved = self._step(inputs[..., step, :], state, share)
            here = mask[..., step, None]
            state = here * moved + (1 - here) * state
            states.append(state)
        return torch.stack(states, dim=-2)

    def _inputs(self, values: Tensor, attention: Tensor | None) -> Tensor:
        if self.gate == "aigru" and attention is not None:
            values = values * attention.unsqueeze(-1)
        inputs: Tensor = self.of_input(values)
        if attention is not None:
            inputs = inputs.expand(*attention.shape, -1)
        return inputs

    def _step(self, inputs: Tensor, state: Tensor, share: Tensor | None) -> Tensor:
        reset_in, update_in, new_in = inputs.chunk(3, dim=-1)
        reset_of, update_of, new_of = self.of_state(state).chunk(3, dim=-1)
        reset, update = torch.sigmoid(reset_in + reset_of), torch.sigmoid(update_in + update_of)
        if share is not None and self.gate == "agru":
            update = share
        if share is not None and self.gate == "augru":
            update = share * update
        candidate = torch.tanh(new_in + reset * new_of)
        return (1 - update) * state + update * candidate


class ListGRU(nn.GRU):
    """PyTorch's GRU over a list of any length, which exports to ONNX' own GRU: a loop over steps would fix the length.

    (B, C, D) to the states (B, C, H).
    """

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__(width_in, width, batch_first=True)

    def forward(self, values: Tensor) -> Tensor:  # type: ignore[override]
        """States after each place of `values` (B, C, D)."""
        if torch.onnx.is_in_onnx_export():
            return self._symbolic(values)
        states: Tensor = super().forward(values)[0]
        return states

    def _symbolic(self, values: Tensor) -> Tensor:
        users, places = values.shape[:2]
        weights = [_onnx_gates(w).unsqueeze(0) for w in (self.weight_ih_l0, self.weight_hh_l0)]
        biases = torch.cat([_onnx_gates(b) for b in (self.bias_ih_l0, self.bias_hh_l0)]).unsqueeze(0)
        states = torch.onnx.ops.symbolic(
            "::GRU",
            (values.transpose(0, 1), *weights, biases),
            {"hidden_size": self.hidden_size, "linear_before_reset": 1},
            dtype=values.dtype,
            shape=(places, 1, users, self.hidden_size),
        )  # (C, 1, B, H)
        return states.squeeze(1).transpose(0, 1)


def _onnx_gates(parameter: Tensor) -> Tensor:
    reset, update, new = parameter.chunk(3)
    return torch.cat([update, reset, new])
