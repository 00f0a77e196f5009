"""A run in several processes: each does its share of every training step and of the evaluated users.

Each process makes the same batches, with the same negatives and the same draws of modalities, because all of these come
from generators seeded alike. What is shared out is the costly part:

* training, our models: the rows that go through ``InnerProductModel.rowwise``, the encoding of a step's entities. The
  embeddings are gathered with their gradients, and each process computes the loss of the whole batch.
* training, RecBole's models: the rows of the batch, each share weighted by its size.
* evaluation: the users. Their lists are gathered, and each process computes the metrics of all of them, so that all
  decide alike when to stop.

The gradients are averaged by ``DistributedDataParallel``.

Equal to one process, up to the order of summation: batches, negatives, modalities, contrastive sets, losses, gradients,
batch normalisation of our models, metrics. Not equal: the draws of dropout and of the order of cold items that a model
without content cannot rank, since each process has a generator of its own for them. A RecBole model whose loss is no
mean over the rows of its batch (regularisation, in-batch negatives) takes it over a process's share, as with RecBole's
own distributed training; BPR's is one.

With one process, the functions here that the rest of the code calls return what they are given.
"""

from recbole_sibrar.recbole_plugin.distributed.exchange import (
    from_main,
    gather,
    is_main,
    main_first,
    mean,
    rank,
    share,
    share_of_users,
    silence,
    size,
)
from recbole_sibrar.recbole_plugin.distributed.launcher import launch
from recbole_sibrar.recbole_plugin.distributed.training import shared_loss, shared_rows
from recbole_sibrar.recbole_plugin.distributed.world import World, check_processes, check_shareable
