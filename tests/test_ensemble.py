"""An ensemble against the networks that it is made of."""

import pytest
import torch
from test_models import MODELS, batch, build, every_model, side_modalities

from recbole_sibrar.models.imputation import IMPUTERS
from recbole_sibrar.models.training_step import TrainingStep

ITEMS = torch.arange(25)


def scores(model):
    """(U, I), of the networks' own embeddings."""
    users, items = torch.arange(30), ITEMS
    return sum(one.embeddings("user", users) @ one.embeddings("item", items).T for one in model.ensemble.networks)


@every_model
def test_scores_are_the_sum_of_the_networks(model_class):
    model = build(model_class, ensemble_size=3).eval()
    together = model.embeddings("user", torch.arange(30)) @ model.embeddings("item", ITEMS).T
    torch.testing.assert_close(together, scores(model))
    assert model.embeddings("item", ITEMS).shape[1] == 3 * build(model_class).embeddings("item", ITEMS).shape[1]


@every_model
def test_networks_differ_in_parameters_draws_and_gradients(model_class):
    model = build(model_class, ensemble_size=2)
    first, other = model.ensemble.networks
    assert model.n_parameters == 2 * build(model_class).n_parameters
    assert not torch.equal(first.embeddings("item", ITEMS)[:, :8], other.embeddings("item", ITEMS))
    other.load_state_dict(first.state_dict())
    own, others = (TrainingStep(one).terms(batch(model.options))[0] for one in (first, other))
    assert own.item() != others.item()  # the same parameters, other draws


@every_model
def test_the_loss_is_the_mean_and_trains_each_network_by_itself(model_class):
    model, same, alone = build(model_class, ensemble_size=2), build(model_class, ensemble_size=2), build(model_class)
    made, steps = batch(model.options), {}
    first, other = same.ensemble.networks
    for name, networks in {"own": alone.ensemble.networks, "all": [], "other": [first, other]}.items():
        torch.manual_seed(7)
        terms = [TrainingStep(network).terms(made) for network in networks] or [model.loss(made)]
        steps[name] = torch.stack(terms[-1])
    torch.testing.assert_close(steps["all"], (steps["own"] + steps["other"]) / 2)
    steps["all"].sum().backward()
    steps["own"].sum().backward()
    for name, parameter in alone.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(model.get_parameter(name).grad, parameter.grad / 2)


def test_features_are_held_once_and_evaluation_of_all_is_left_with_the_same():
    model = build(MODELS[0], ensemble_size=2).eval()
    first, other = model.ensemble.networks
    own, others = dict(first.named_buffers()), dict(other.named_buffers())
    assert all(others[name] is own[name] for name in others if name not in other.state_dict())
    before = other.embeddings("item", ITEMS)
    encoder = model.entities("item")
    encoder.kept = torch.tensor([name == "year" for name in encoder.names])
    after = model.embeddings("item", ITEMS)[:, 8:]
    assert not torch.equal(after, before)
    year = side_modalities(order=["interactions", "year"])["item"].available[:, 1]
    lacking = after[~year]
    torch.testing.assert_close(lacking, lacking[:1].expand_as(lacking))  # the mean, as no year is known


@every_model
def test_parts_are_those_of_all_networks(model_class):
    model = build(model_class, ensemble_size=2, joint_modality=True).eval()
    for item in range(1, 25):
        parts = model.parts("item", item)
        total = torch.stack([part.vector for part in parts]).sum(0)
        torch.testing.assert_close(total, model.embeddings("item", torch.tensor([item]))[0])


@pytest.mark.parametrize("how", IMPUTERS[1:])
def test_all_networks_read_what_the_first_one_imputes(how):
    model = build(MODELS[0], ensemble_size=2, impute=how).eval()
    encoder, items = model.entities("item"), ITEMS[1:]
    trained = model.embeddings("item", items)
    encoder.evaluated = encoder.evaluated & torch.tensor([name != "plot" for name in encoder.names])
    left = model.embeddings("item", items)
    assert not torch.equal(left[:, 8:], trained[:, 8:])
    completed = encoder.features_in_evaluation(items)
    torch.testing.assert_close(left[:, 8:], model.ensemble.networks[1].embed(completed))
