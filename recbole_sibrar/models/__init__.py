"""The models in plain PyTorch. No RecBole in here."""

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
