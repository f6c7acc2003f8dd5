"""What PyTorch makes of the same weights and inputs: outputs and all gradients, in float64.

Imported only where PyTorch is installed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from charrnn.config import ModelConfig

torch.set_num_threads(1)  # the matrices are tiny

Arrays = dict[str, np.ndarray[Any, Any]]

_MODULES = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn_tanh": nn.RNN, "rnn_relu": nn.RNN}


def tensor(array: Any, *, grad: bool = False) -> torch.Tensor:
    """A copy, in float64 where it is of real numbers."""
    return torch.from_numpy(np.array(array)).requires_grad_(grad)


def module(cell: str, params: Arrays, x_size: int, hidden: int, layers: int, both: bool) -> Any:
    """PyTorch's module for a cell, its weights loaded strictly by name."""
    extra = {"nonlinearity": cell.removeprefix("rnn_")} if cell.startswith("rnn_") else {}
    rnn = _MODULES[cell](x_size, hidden, layers, bidirectional=both, **extra).double()
    rnn.load_state_dict({name: tensor(value) for name, value in params.items()}, strict=True)
    return rnn


def run_stack(
    cell: str,
    layers: int,
    direction: str,
    params: Arrays,
    x: np.ndarray[Any, Any],
    states: list[list[np.ndarray[Any, Any]]],
    dy: np.ndarray[Any, Any],
    dfinal: list[list[np.ndarray[Any, Any]]],
) -> Arrays:
    """Outputs ``y``, ``final.SCAN.K`` and gradients ``d NAME`` of sum(y dy) + sum(final dfinal)."""
    hidden = states[0][0].shape[-1]
    xs = tensor(x, grad=True)
    initial = [torch.stack([tensor(s[k]) for s in states]) for k in range(len(states[0]))]
    for state in initial:
        state.requires_grad_(True)
    seen = xs.flip(0) if direction == "reverse" else xs  # PyTorch has no lone reverse direction
    if cell == "rnn_sigmoid":
        weights = {name: tensor(value, grad=True) for name, value in params.items()}
        y, final = _sigmoid_rnn(weights, seen, initial[0], layers, direction == "both")
    else:
        rnn = module(cell, params, x.shape[-1], hidden, layers, direction == "both")
        weights = dict(rnn.named_parameters())
        y, last = rnn(seen, tuple(initial) if len(initial) == 2 else initial[0])
        final = list(last) if isinstance(last, tuple) else [last]
    y = y.flip(0) if direction == "reverse" else y
    loss = (y * tensor(dy)).sum()
    for k, state in enumerate(final):
        loss = loss + (state * torch.stack([tensor(d[k]) for d in dfinal])).sum()
    loss.backward()

    found: Arrays = {"y": y.detach().numpy(), "d x": _grad(xs)}
    for k, state in enumerate(final):
        for scan in range(len(states)):
            found[f"final.{scan}.{k}"] = state[scan].detach().numpy()
            found[f"d state.{scan}.{k}"] = _grad(initial[k])[scan]
    return found | {f"d {name}": _grad(w) for name, w in weights.items()}


def _grad(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    assert tensor.grad is not None
    return tensor.grad.numpy()


def _sigmoid_rnn(w: Any, x: Any, initial: Any, layers: int, both: bool) -> Any:
    """``torch.nn.RNN`` knows no sigmoid: the equation, for autograd."""
    final = []
    for layer in range(layers):
        outputs = []
        for reverse in (False, True) if both else (False,):
            end = f"_l{layer}" + ("_reverse" if reverse else "")
            h, hs = initial[len(final)], []
            for x_t in x.flip(0) if reverse else x:
                a = functional.linear(x_t, w["weight_ih" + end], w["bias_ih" + end])
                h = torch.sigmoid(
                    a + functional.linear(h, w["weight_hh" + end], w["bias_hh" + end])
                )
                hs.append(h)
            final.append(h)
            y = torch.stack(hs)
            outputs.append(y.flip(0) if reverse else y)
        x = torch.cat(outputs, dim=-1)
    return x, [torch.stack(final)]


def language_model(
    config: ModelConfig,
    params: Arrays,
    ids: np.ndarray[Any, Any],
    targets: np.ndarray[Any, Any],
    states: list[list[np.ndarray[Any, Any]]],
) -> Arrays:
    """``loss`` (mean nats), ``logits`` and gradients ``d NAME`` of a whole model.

    A bidirectional one learns, to equal parts, from the left, from the right and from both sides.
    """
    weights = {name: tensor(value, grad=True) for name, value in params.items()}
    initial = [torch.stack([tensor(s[k]) for s in states]) for k in range(len(states[0]))]
    decoder = weights["encoder.weight" if config.tie else "decoder.weight"]

    def losses(h: Tensor, bias: str, wanted: np.ndarray[Any, Any]) -> tuple[Tensor, Tensor]:
        logits = functional.linear(h, decoder, weights[bias]).flatten(0, 1)
        goal = tensor(np.ascontiguousarray(wanted)).flatten()
        return logits, functional.cross_entropy(logits, goal, reduction="sum") / ids.size

    left = _hidden(config, weights, "rnn.", ids, initial)
    logits, loss = losses(left, "decoder.bias", targets)
    total = loss
    if config.bidirectional:
        zero = [torch.zeros_like(state) for state in initial]
        right = _hidden(config, weights, "reverse.", targets[::-1], zero).flip(0)
        _, backwards = losses(right, "decoder.bias", ids)
        _, between = losses(left[:-1] + right[1:], "blank.bias", targets[:-1])
        total = (loss + backwards + between) / 3
    total.backward()
    found: Arrays = {"loss": loss.detach().numpy(), "logits": logits.detach().numpy()}
    return found | {f"d {name}": _grad(w) for name, w in weights.items()}


def _hidden(
    config: ModelConfig,
    weights: dict[str, Tensor],
    side: str,
    ids: np.ndarray[Any, Any],
    initial: list[Tensor],
) -> Tensor:
    """The last layer's h [T, B, H] of the stack that is called so."""
    table = weights["encoder.weight"]
    embedded = functional.embedding(tensor(np.ascontiguousarray(ids)), table)
    own = {n.removeprefix(side): w for n, w in weights.items() if n.startswith(side)}
    if config.cell_name == "rnn_sigmoid":
        return _sigmoid_rnn(own, embedded, initial[0], config.layers, False)[0]
    arrays = {name: w.detach().numpy() for name, w in own.items()}
    rnn = module(
        config.cell_name, arrays, config.embed_size, config.hidden_size, config.layers, False
    )
    state = tuple(initial) if len(initial) == 2 else initial[0]
    h: Tensor = torch.func.functional_call(rnn, own, (embedded, state))[0]
    return h


class LanguageModule(nn.Module):
    """A language model as PyTorch's users write one, in float32."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        V, E, H = config.vocab_size, config.embed_size, config.hidden_size
        kind = _MODULES[config.cell_name]
        extra = {"nonlinearity": config.activation} if config.cell == "rnn" else {}
        self.encoder = nn.Embedding(V, E)
        self.rnn = kind(E, H, config.layers, **extra)
        self.decoder = nn.Linear(H, V)
        if config.tie:
            self.decoder.weight = self.encoder.weight

    def logprobs(self, ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """ln P of each of ids [T] but the first, given those before it [T - 1]."""
        with torch.no_grad():
            h, _ = self.rnn(self.encoder(torch.from_numpy(ids[:-1, None].astype(np.int64))))
            p = self.decoder(h)[:, 0].log_softmax(-1).numpy()
        return np.asarray(p[np.arange(len(ids) - 1), ids[1:]])


def optimise(
    name: str, start: np.ndarray[Any, Any], grads: np.ndarray[Any, Any], clip: float, **options: Any
) -> np.ndarray[Any, Any]:
    """Parameters [N] after a step for each row of ``grads`` [S, N], clipped first."""
    kinds: dict[str, Any] = {
        "adam": torch.optim.AdamW,
        "rmsprop": torch.optim.RMSprop,
        "sgd": torch.optim.SGD,
    }
    parameter = nn.Parameter(tensor(start))
    optimizer = kinds[name]([parameter], **options)
    for gradient in grads:
        parameter.grad = tensor(gradient)
        if clip:
            nn.utils.clip_grad_norm_([parameter], clip)
        optimizer.step()
    return parameter.detach().numpy()
