import pytest
import torch

from recbole_sibrar.models.attribution import EXACT_UP_TO, shapley_parts


@pytest.mark.parametrize("n, tolerance", [(3, 1e-4), (EXACT_UP_TO, 1e-4), (EXACT_UP_TO + 3, 0.1)])
def test_what_one_modality_adds_is_its_own_and_its_share_of_what_two_add_together(n, tolerance):
    """Shapley values of a sum are its terms, of a product of two the half each; random orders come near."""
    generator = torch.Generator().manual_seed(0)
    alone, together, base = (torch.randn(*size, generator=generator) for size in ((n + 1, 4), (4,), (4,)))
    has = torch.ones(n + 1, dtype=torch.bool)
    has[1] = False  # what is not there adds nothing

    def embed(used):
        assert not used[:, 1].any()
        return base + used.float() @ alone + (used[:, 0] & used[:, 2]).unsqueeze(1) * together

    values, without = shapley_parts(embed, has)
    expected = alone * has.unsqueeze(1)
    expected[[0, 2]] += together / 2
    torch.testing.assert_close(values, expected, atol=tolerance, rtol=0)
    torch.testing.assert_close(without, base)
    torch.testing.assert_close(without + values.sum(0), embed(has.unsqueeze(0))[0])
