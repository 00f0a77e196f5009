"""Inner products of many pairs of few distinct entities."""

from torch import Tensor

from recbole_sibrar.data.sparse import gather_rows


def is_dense(n_products: int, n_rows: int, width: int) -> bool:
    """Whether ``n_products`` inner products, of all with all, cost less than gathering and multiplying ``n_rows`` rows.

    A product takes 3.8 + 0.028 D ns with its gradients, a row that is gathered 40 + 3.7 D ns (one processor, D 64 and
    256): D decides, since most of a product is writing, keeping and reading it.
    """
    return n_products * (139 + width) <= 133 * n_rows * (11 + width)


def pair_scores(users: Tensor, items: Tensor, owner: Tensor, place: Tensor) -> Tensor:
    """Inner products of pairs: by one matrix product of all users and items where that is cheaper, else one by one.

    Args:
        users: (U, D). items: (I, D), distinct ones.
        owner: (B,) which user each row of pairs belongs to.
        place: (B, K) which items it is paired with.

    Returns:
        (B, K).

    >>> import torch
    >>> users, items = torch.eye(2), torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> pair_scores(users, items, torch.tensor([1, 0]), torch.tensor([[0, 2], [1, 1]])).tolist()
    [[2.0, 6.0], [3.0, 3.0]]
    """
    if is_dense(len(users) * len(items), place.numel(), users.shape[1]):
        index = owner.unsqueeze(1) * len(items) + place
        return (users @ items.T).flatten().take(index)
    rows = gather_rows(items, place.flatten()).view(*place.shape, -1)
    return (rows @ gather_rows(users, owner).unsqueeze(-1)).squeeze(-1)


def set_products(first: Tensor, second: Tensor, sets: Tensor) -> Tensor:
    """For each set of entities the inner products of the first embeddings of its members with the second ones.

    Args:
        first, second: (N, D). sets: (B, S) rows of them.

    Returns:
        (B, S, S).
    """
    if is_dense(len(first) ** 2, 2 * sets.numel(), first.shape[1]):
        return (first @ second.T).flatten().take(sets.unsqueeze(-1) * len(first) + sets.unsqueeze(-2))
    rows, columns = (gather_rows(view, sets.flatten()).view(*sets.shape, -1) for view in (first, second))
    return rows @ columns.transpose(-1, -2)
