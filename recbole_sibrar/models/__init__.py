"""The models in plain PyTorch. No RecBole in here.

A model is made of its options, the modalities of both sides and the training interactions, between ids from 1 on (0 is
padding); ``options.batches`` says which batches its ``loss`` takes, and embeddings score. Three users, four items, of
which one has no image:

>>> import torch
>>> from recbole_sibrar.data.modalities import Modalities, Modality
>>> from recbole_sibrar.data.sparse import SparseRows
>>> from recbole_sibrar.kinds.interactions import interaction_modality
>>> from recbole_sibrar.models import SiBraR
>>> from recbole_sibrar.models.batches import PairBatch
>>> users, items = torch.tensor([1, 1, 2, 2, 3]), torch.tensor([1, 2, 2, 3, 1])
>>> has_image = torch.tensor([False, True, True, False, True])
>>> image = Modality("image", "vector", has_image, torch.randn(5, 16), width=16)
>>> modalities = {
...     "user": Modalities("user", (interaction_modality(users, items, 4, 5),)),
...     "item": Modalities("item", (interaction_modality(items, users, 5, 4), image)),
... }
>>> options = SiBraR.options_class(embedding_size=8, variant="SC")
>>> model = SiBraR(options, modalities, SparseRows.from_pairs(users, items, 4, 5), seed=0)
>>> optimizer = torch.optim.Adam(model.parameters())
>>> terms = model.loss(PairBatch(users, items, torch.tensor([[3], [3], [1], [1], [2]])))  # BPR and SInfoNCE
>>> sum(terms).backward()
>>> optimizer.step()
>>> _ = model.eval()
>>> scores = model.embeddings("user", torch.tensor([1])) @ model.embeddings("item", torch.arange(5)).T
>>> scores.shape, bool(scores.isfinite().all())  # item 4 is cold: its image alone is read
(torch.Size([1, 5]), True)

Trained models serve without all this: ``serving.recommender.Recommender``.
"""

from recbole_sibrar.models.autoencoder import LinearAutoencoder
from recbole_sibrar.models.clcrec import CLCRec
from recbole_sibrar.models.dropoutnet import DropoutNet
from recbole_sibrar.models.kernel_ridge import KernelRidge
from recbole_sibrar.models.mf import MF
from recbole_sibrar.models.mubrar import MuBraR
from recbole_sibrar.models.ridge import ContentRidge
from recbole_sibrar.models.sibrar import SiBraR

MODELS = {
    model.__name__: model
    for model in (SiBraR, MuBraR, CLCRec, DropoutNet, ContentRidge, KernelRidge, LinearAutoencoder, MF)
}
