"""The multilayer perceptron that projections and encoders are made of."""

import torch.nn.functional as F
from torch import nn

ACTIVATION_LAYERS = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
}


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that falls back to its running statistics for fewer than two rows."""

    def forward(self, rows):
        if len(rows) > 1:
            return super().forward(rows)
        return F.batch_norm(rows, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def mlp(sizes, activation: str, batch_norm: bool = False) -> nn.Sequential:
    """Linear layers of these sizes with an activation between them; none after the last.

    Args:
        sizes: input, hidden ..., output.
        batch_norm: normalise after every second linear layer and on the output, as the authors do.
    """
    layers = []
    last = len(sizes) - 2
    for position, (n_in, n_out) in enumerate(zip(sizes, sizes[1:])):
        linear = nn.Linear(n_in, n_out)
        nn.init.xavier_normal_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers.append(linear)
        if batch_norm and (position % 2 == 1 or position == last):
            layers.append(BatchNorm(n_out))
        if position < last:
            layers.append(ACTIVATION_LAYERS[activation]())
    return nn.Sequential(*layers)
