from math import comb

import pytest
import torch
import yaml
from conftest import SOFTMAX, naming, rows_of_trained

from recbole_sibrar import layers
from recbole_sibrar.data.modalities import Modalities, Modality
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.errors import OptionError
from recbole_sibrar.kinds import KINDS, LINEAR_INPUTS, WEIGHTS, known_to
from recbole_sibrar.kinds import agreement as agreement_of
from recbole_sibrar.kinds.agreement import agreement
from recbole_sibrar.kinds.interactions import InteractionProjection, interaction_modality
from recbole_sibrar.kinds.number import number_modality, piecewise_linear
from recbole_sibrar.kinds.vector import VectorProjection
from recbole_sibrar.models import MODELS as ALL_MODELS
from recbole_sibrar.models import training_step
from recbole_sibrar.models.batches import PairBatch, UserBatch
from recbole_sibrar.models.calibration import FACTORS
from recbole_sibrar.models.fusion import FUSIONS
from recbole_sibrar.models.mubrar import MuBraR
from recbole_sibrar.models.network import Network
from recbole_sibrar.models.new_items import LEVEL
from recbole_sibrar.models.options import ModelOptions
from recbole_sibrar.models.sampling import chosen_mask, draw_subsets, hide_entries, sample_modalities
from recbole_sibrar.models.sibrar import SiBraR
from recbole_sibrar.models.training_step import TrainingStep
from recbole_sibrar.properties import props_folder

N_USERS, N_ITEMS, N_TRAINED = 30, 25, 20
MODELS = [SiBraR, MuBraR]


def preset(name):
    """The options of the network in a preset."""
    values = yaml.safe_load((props_folder() / "preset" / f"{name}.yaml").read_text(encoding="utf-8"))
    return {option: value for option, value in values.items() if option in vars(ModelOptions())}


STRONG = {**preset("strong"), "embedding_size": 8}
HIDDEN = {**SOFTMAX, "softmax_targets": "hidden", "interaction_dropout": 0.4}
SETTINGS = {
    "paper base": {"variant": "base"},
    "paper S": {"variant": "S"},
    "paper": preset("paper"),
    "strong base": {**STRONG, "variant": "base"},
    "strong S": {**STRONG, "variant": "S"},
    "strong": STRONG,
    "softmax": SOFTMAX,
    "softmax base": {**SOFTMAX, "variant": "base"},
    "sampled softmax": {**SOFTMAX, "softmax_negatives": 7},
    "hidden targets, sampled softmax": {**HIDDEN, "softmax_negatives": 7, "single_branch": "user"},
    "hidden targets, id embedding": {**HIDDEN, "plain_side": "embedding"},
    "hidden targets, both sides": {**HIDDEN, "single_branch": "both"},
    "a draw for each entity": {"modality_draw": "entity"},
    "subsets": {"modality_sampling": "subset"},
    "interactions always": {"modality_sampling": "interactions"},
    "subsets for each entity": {"modality_sampling": "subset", "modality_draw": "entity", "variant": "S"},
    "joint": {"joint_modality": True},
    "joint base": {"joint_modality": True, "variant": "base", "single_branch": "both"},
    "cosine": {"contrastive_similarity": "cosine", "contrastive_weight": 0.2},
    "inner in the batch": {"contrastive_set": "batch", "contrastive_weight": 0.01},
    "both sides": {"single_branch": "both"},
    "gated": {"fusion": "gated"},
    "attention": {"fusion": "attention", "single_branch": "both"},
    "id embedding": {"plain_side": "embedding"},
    "inputs of strong": {
        name: value for name, value in vars(ModelOptions.from_mapping(STRONG)).items() if hasattr(LINEAR_INPUTS, name)
    },
    "content prior": {"content_prior": 0.7},
    "interaction prior": {"interaction_prior": 0.7},
    "all priors": {"content_prior": 0.7, "interaction_prior": 0.7, "single_branch": "both"},
    "content prior, id embedding": {"content_prior": 0.7, "plain_side": "embedding"},
    "content prior, sampled softmax": {**SOFTMAX, "content_prior": 0.7, "variant": "base", "softmax_negatives": 7},
    "ensemble": {"ensemble_size": 3, "single_branch": "both"},
    "interaction ridge": {"interaction_ridge": 0.7, "single_branch": "both"},
    "interaction ridge, ensemble, prior": {"interaction_ridge": 0.4, "ensemble_size": 2, "content_prior": 0.7},
    "interaction ridge, id embedding": {"interaction_ridge": 0.4, "plain_side": "embedding"},
    "interaction kernel": {"interaction_kernel": 0.7, "single_branch": "both"},
    "user kernel": {"user_kernel": 0.7, "single_branch": "both"},
    "new user kernel": {"new_user_kernel": 0.7, "single_branch": "both"},
    "interaction kernel, id embedding, prior": {
        "interaction_kernel": 0.4,
        "plain_side": "embedding",
        "content_prior": 0.7,
    },
    "all beside the networks": {
        "interaction_kernel": 0.8,
        "user_kernel": 0.1,
        "new_user_kernel": 0.3,
        "interaction_ridge": 0.4,
        "calibration": True,
        "ensemble_size": 2,
        "joint_modality": True,
    },
    "ensemble, softmax, content prior": {**SOFTMAX, "ensemble_size": 2, "content_prior": 0.7},
    "deep": {
        "encoder_hidden_sizes": [6, 6],
        "projection_hidden_sizes": [5],
        "batch_norm": True,
        "normalize_input": True,
        "input_dropout": 0.2,
        "projection_size": 12,
    },
}
every_setting = pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
every_model = pytest.mark.parametrize("model_class", MODELS)


def interactions():
    generator = torch.Generator().manual_seed(1)
    users = torch.randint(1, N_USERS, (200,), generator=generator)
    return users, torch.randint(1, N_TRAINED, (200,), generator=generator)


def side_modalities(order=None, **replaced):
    """Item modalities with missing values in all of them; item 24 has none at all."""
    generator = torch.Generator().manual_seed(2)
    users, items = interactions()

    def missing():
        mask = torch.rand(N_ITEMS, generator=generator) > 0.3
        mask[0] = mask[24] = False
        return mask

    tags = SparseRows.from_pairs(
        torch.randint(1, 24, (40,), generator=generator), torch.randint(0, 5, (40,), generator=generator), N_ITEMS, 5
    )
    entries = {
        "interactions": interaction_modality(items, users, N_ITEMS, N_USERS),
        "plot": Modality("plot", "vector", missing(), torch.randn(N_ITEMS, 7, generator=generator), 7),
        "year": Modality("year", "number", missing(), torch.rand(N_ITEMS, generator=generator), 1),
        "label": Modality("label", "category", missing(), torch.randint(0, 4, (N_ITEMS,), generator=generator), 4),
        "genres": Modality("genres", "tags", tags.lengths > 0, tags, 5),
        **replaced,
    }
    order = order or list(entries)
    user_entry = interaction_modality(users, items, N_USERS, N_ITEMS)
    group = Modality("group", "category", torch.arange(N_USERS) > 0, torch.arange(N_USERS) % 3, 3)
    return {
        "item": Modalities("item", tuple(entries[name] for name in order)),
        "user": Modalities("user", (user_entry, group)),
    }


def build(model_class, modalities=None, seed=3, **options):
    torch.manual_seed(0)
    matrix = SparseRows.from_pairs(*interactions(), N_USERS, N_ITEMS)
    model = model_class(ModelOptions(**{"embedding_size": 8, **options}), modalities or side_modalities(), matrix, seed)
    model.pretrain(None, show_progress=False)
    for name, values in model.named_buffers():
        if name.endswith(FACTORS):
            values.uniform_(0.5, 2)[0] = 1
        elif name == LEVEL:
            values.uniform_(0.5, 2)
    return model


def network(model_class, **options):
    """The one that a model is made of."""
    return build(model_class, **options).ensemble.networks[0]


def batch(options):
    users = torch.arange(1, 13)
    if options.rec_loss == "bpr":
        generator = torch.Generator().manual_seed(4)
        items = torch.randint(1, N_TRAINED, (12, 5), generator=generator)
        return PairBatch(users, items[:, 0], items[:, 1:])
    return UserBatch(users)


def step(model_class, setting, device="cpu", is_mixed=False):
    """The loss of a step, and the length of its gradient."""
    model = build(model_class, **setting).to(device)
    made = batch(model.options)
    moved = type(made)(**{name: value.to(device) for name, value in vars(made).items()})
    torch.manual_seed(5)
    with torch.autocast(device, enabled=is_mixed):
        loss = sum(model.loss(moved))
    loss.backward()
    squares = [parameter.grad.square().sum().item() for parameter in model.parameters() if parameter.grad is not None]
    return loss.item(), sum(squares) ** 0.5


def all_scores(model):
    model.eval()
    return model.embeddings("user", torch.arange(N_USERS)) @ model.embeddings("item", torch.arange(N_ITEMS)).T


@every_setting
@every_model
def test_trains_and_scores(model_class, setting):
    model = build(model_class, **setting)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        terms = model.loss(batch(model.options))
        assert len(terms) == (2 if model.options.contrasts else 1)
        optimizer.zero_grad()
        sum(terms).backward()
        optimizer.step()
        losses.append(float(sum(terms)))
    assert sum(losses[-5:]) < sum(losses[:5])
    assert torch.isfinite(all_scores(model)).all()


@every_setting
@every_model
def test_same_seed_same_step_and_another_draw_in_the_next(model_class, setting):
    first, second = build(model_class, **setting), build(model_class, **setting)
    torch.manual_seed(5)
    one = sum(first.loss(batch(first.options)))
    torch.manual_seed(5)
    assert sum(second.loss(batch(second.options))).item() == one.item()
    torch.manual_seed(5)
    options = first.options
    draws = options.samples or options.softmax_negatives > 0 or options.softmax_targets == "hidden"
    assert (sum(first.loss(batch(options))).item() != one.item()) == draws


@every_setting
@every_model
def test_mixed_precision_is_near(model_class, setting):
    setting = {**setting, "temperature": 5.0}  # cold, the inner products of InfoNCE blow rounding up
    (loss, gradient), (mixed, of_mixed) = step(model_class, setting), step(model_class, setting, is_mixed=True)
    assert mixed == pytest.approx(loss, rel=0.01) and of_mixed == pytest.approx(gradient, rel=0.3)


@every_setting
@every_model
def test_masked_values_change_nothing(model_class, setting):
    """What stands where a modality is missing is never read, in training or in scoring."""
    clean = side_modalities()
    perturbed = {}
    for entry in clean["item"].entries:
        if entry.kind in ("vector", "number"):
            values = entry.values.clone()
            values[~entry.available] = float("nan")
        elif entry.kind == "category":
            values = torch.where(entry.available, entry.values, (entry.values + 1) % 4)
        else:
            continue
        perturbed[entry.name] = Modality(entry.name, entry.kind, entry.available, values, entry.width)
    outputs = []
    for modalities in (clean, side_modalities(**perturbed)):
        model = build(model_class, modalities, **setting)
        torch.manual_seed(6)
        loss = sum(model.loss(batch(model.options)))
        loss.backward()
        norm = sum(p.grad.abs().sum() for p in model.parameters() if p.grad is not None)
        outputs.append((loss.item(), norm.item(), all_scores(model)))
    assert outputs[0][:2] == outputs[1][:2]
    assert torch.equal(outputs[0][2], outputs[1][2])


@every_setting
@every_model
def test_what_modalities_add_makes_up_the_embedding(model_class, setting):
    model = build(model_class, **setting).eval()
    for side, ids in (("item", (3, 22, 24)), ("user", (1, 5))):
        for n in ids:
            entities = [(n, model.embeddings(side, torch.tensor([n])))]
            if model.described(side):
                new = model.modalities[side].rows(torch.tensor([n]))
                entities.append((new, model.embed(new)))
            for entity, whole in entities:
                parts = model.parts(side, entity)
                names = {part.modality for part in parts}
                assert (
                    names - {"(new)"} == {"(mean)"}
                    if n == 24 and side == "item"
                    else names <= {*model.entities(side).names, "(mean)", "(new)", "(all)"}
                )
                total = torch.stack([part.vector for part in parts]).sum(0)
                torch.testing.assert_close(total, whole[0], atol=1e-4, rtol=1e-4)


@every_model
def test_vectors_stay_in_half_precision_in_memory_and_score_alike(model_class):
    plot = side_modalities()["item"].entries[1]
    half = Modality("plot", "vector", plot.available, plot.values.half(), plot.width)
    same = Modality("plot", "vector", plot.available, plot.values.half().float(), plot.width)
    scores = [all_scores(build(model_class, side_modalities(plot=entry))) for entry in (half, same)]
    assert torch.equal(*scores)
    stored = build(model_class, side_modalities(plot=half)).entities("item").projections[1].values
    assert stored.dtype == torch.float16


def test_statistics_in_blocks_are_those_of_a_copy(monkeypatch):
    monkeypatch.setattr(layers, "STATISTICS_ROWS", 3)
    values = torch.randn(11, 4, generator=torch.Generator().manual_seed(0)).half()
    known = torch.tensor([0, 2, 3, 5, 6, 9, 10])
    mean, lengths = layers.centre(lambda rows: values[rows].float(), known)
    expected = values[known].float().mean(0)
    assert torch.allclose(mean, expected) and torch.allclose(lengths, (values[known].float() - expected).norm(dim=1))
    assert [part.tolist() for part in layers.centre(lambda rows: values[rows].float(), known[:0])] == [[0.0] * 4, []]


@every_model
def test_the_order_of_the_modalities_changes_nothing(model_class):
    names = [entry.name for entry in side_modalities()["item"].entries]
    first = build(model_class, variant="base")
    second = build(model_class, side_modalities(names[::-1]), variant="base")
    item = first.entities("item"), second.entities("item")
    second.entities("user").load_state_dict(first.entities("user").state_dict())
    for position in range(len(names)):
        item[1].projections[-1 - position].load_state_dict(item[0].projections[position].state_dict())
        if model_class is MuBraR:
            item[1].encoder.networks[-1 - position].load_state_dict(item[0].encoder.networks[position].state_dict())
    if model_class is SiBraR:
        item[1].encoder.load_state_dict(item[0].encoder.state_dict())
    assert torch.allclose(all_scores(first), all_scores(second), atol=1e-6)


@pytest.mark.parametrize("name", FUSIONS)
def test_fusions_are_weighted_means_that_ignore_order_and_what_is_missing(name):
    torch.manual_seed(0)
    fusion = FUSIONS[name](4, 3)
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter)
    embeddings, used = torch.randn(6, 4, 3), torch.rand(6, 4) > 0.4
    used[:, 0] = True
    used[0], used[1] = False, torch.tensor([True, False, False, False])
    fused = fusion(embeddings, used)
    assert torch.allclose(fusion.parts(embeddings, used).sum(1), fused)
    assert (fused[0] == 0).all() and torch.allclose(fused[1], embeddings[1, 0])
    low, high = (
        getattr(embeddings.masked_fill(~used.unsqueeze(-1), fill), by)(1) for fill, by in ((9, "amin"), (-9, "amax"))
    )
    assert ((fused >= low - 1e-6) & (fused <= high + 1e-6))[1:].all()
    order = torch.tensor([2, 0, 3, 1])
    assert torch.allclose(fusion(embeddings[:, order], used[:, order], order.expand(6, 4)), fused, atol=1e-6)
    perturbed = torch.where(used.unsqueeze(-1), embeddings, torch.full_like(embeddings, 1e3))
    assert torch.allclose(fusion(perturbed, used), fused, atol=1e-6)


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize("joint", [False, True])
def test_several_choices_of_modalities_are_fused_as_each_by_itself(name, joint):
    """Embeddings and gradients, against sums over weighted copies."""
    model = network(SiBraR, fusion=name, joint_modality=joint)
    encoder, fusion = model.entities("item"), model.fusion["item"]
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter)
    ids, generator = torch.arange(1, 9), torch.Generator().manual_seed(0)
    rows = encoder(ids, encoder.available[ids])
    masks = encoder.available[ids] & (torch.rand(3, *encoder.available[ids].shape, generator=generator) > 0.4)

    def slowly(used):
        fused = fusion.parts(rows[..., : encoder.width], used).sum(1)
        if not joint:
            return fused
        total = (rows[..., encoder.width :] * used.unsqueeze(-1)).sum(1)
        return (fused + encoder.encoder.together(total) * used.any(1, keepdim=True)) / 2

    found, expected = encoder.views(fusion, rows, masks), [slowly(used) for used in masks]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    gradients = [
        torch.autograd.grad(sum(view.sin().sum() for view in views), [rows, *fusion.parameters()], retain_graph=True)
        for views in (found, expected)
    ]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", ["gated", "attention"])
def test_learned_fusion_begins_as_the_mean(name):
    embeddings, used = torch.randn(5, 4, 3), torch.rand(5, 4) > 0.3
    assert torch.allclose(FUSIONS[name](4, 3)(embeddings, used), FUSIONS["mean"](4, 3)(embeddings, used), atol=1e-6)


@every_model
def test_restricted_evaluation_equals_the_modality_alone(model_class):
    model = build(model_class, variant="base", eval_item_modalities=["plot"])
    model.eval()
    ids = side_modalities()["item"].entries[1].available.nonzero().squeeze(1)
    encoder = model.entities("item")
    only_plot = torch.zeros(len(ids), 5, dtype=torch.bool)
    only_plot[:, 1] = True
    assert torch.allclose(model.embeddings("item", ids), encoder(ids, only_plot)[:, 1], atol=1e-6)


@every_model
def test_an_entity_without_any_modality_scores_as_the_average_training_entity(model_class):
    model = build(model_class).eval()
    trained = model.entities("item").trained.nonzero().squeeze(1)
    expected = model.embeddings("item", trained).mean(0)
    assert torch.allclose(model.embeddings("item", torch.tensor([24]))[0], expected, atol=1e-6)
    model.entities("item").kept = torch.zeros(5, dtype=torch.bool)  # nothing is left of any
    assert torch.allclose(model.embeddings("item", trained), expected, atol=1e-6)


@every_model
def test_the_average_is_made_once_until_something_changes(model_class, monkeypatch):
    model, empty = network(model_class), torch.tensor([24])
    encoder, means = model.entities("item"), []
    monkeypatch.setattr(model, "_mean", lambda side: means.append(Network._mean(model, side)) or means[-1])

    def average():
        model.eval()
        return model.embeddings("item", empty)[0]

    assert torch.equal(average(), average()) and len(means) == 1
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, fused=True)
    sum(TrainingStep(model).terms(batch(model.options))).backward()
    optimizer.step()
    assert torch.equal(average(), average()) and len(means) == 2 and not torch.equal(means[0], means[1])
    before, encoder.kept = encoder.kept, torch.tensor([True, False, True, True, True])
    assert torch.equal(average(), average()) and len(means) == 3 and not torch.equal(means[1], means[2])
    encoder.kept = before
    assert torch.equal(average(), means[1])


def test_untrained_ids_never_enter_a_score():
    model = build(SiBraR, plain_side="embedding").eval()
    users = model.entities("user")
    users.trained[7] = users.available[7] = users.evaluated[7] = False
    before = all_scores(model)
    with torch.no_grad():
        users.projections[0].table.weight[7] += 100
    assert torch.equal(all_scores(model), before)


def plot_of_cold_items(value):
    return Modality("plot", "vector", torch.arange(N_ITEMS) > N_TRAINED, torch.full((N_ITEMS, 7), value), 7)


@pytest.mark.parametrize("setting", ["paper", "strong", "gated"])
@every_model
def test_a_modality_that_no_training_entity_has_is_not_read(model_class, setting):
    scores = []
    for value in (1.0, 9.0):
        model = build(model_class, side_modalities(plot=plot_of_cold_items(value)), **SETTINGS[setting])
        of_new = model.eval().embed(model.modalities["item"].rows(torch.tensor([22])))
        scores.append((all_scores(model), of_new))
    assert all(map(torch.equal, *scores))


def test_tags_and_categories_without_a_training_entity_are_left_out():
    """Their embeddings are never trained. An item of unknown tags is one that has tags, but none that counts."""
    modalities = side_modalities()["item"]
    trained = torch.arange(N_ITEMS) < N_TRAINED
    tags = SparseRows.from_pairs([3, 22, 22, 23], [0, 0, 4, 4], N_ITEMS, 5)
    genres = Modality("genres", "tags", tags.lengths > 0, tags, 5, tuple("abcde"))
    genres = KINDS["tags"].known_to(genres, trained)
    assert genres.vocabulary == ("a",) and genres.available.nonzero().squeeze(1).tolist() == [3, 22, 23]
    assert genres.values.select(torch.tensor([3, 22, 23])).lengths.tolist() == [1, 1, 0]
    labels = torch.zeros(N_ITEMS, dtype=torch.long).index_fill_(0, torch.tensor([21, 22]), 3)
    label = Modality("label", "category", torch.arange(N_ITEMS) > 0, labels, 4, tuple("wxyz"))
    label = KINDS["category"].known_to(label, trained)
    assert label.vocabulary == ("w",) and not label.available[21] and label.available[23]
    assert known_to(modalities, trained).names == modalities.names


def in_two_groups(kind, values):
    """A projection of six entities, of which the first five are known to training, the first two by the same users."""
    interactions = SparseRows.from_pairs([0, 0, 1, 1, 2, 3, 4], [0, 1, 0, 1, 2, 3, 4], 6, 5)
    entry = Modality("content", kind, torch.tensor([True] * 4 + [False, True]), values, 3)
    return KINDS[kind].projection(entry, interactions, [3], LINEAR_INPUTS), interactions


SHARED = torch.tensor([0, 0, 1, 1, 0, 1])


def test_a_value_counts_as_far_as_its_entities_agree_in_their_interactions():
    """Entities 0 and 1 have the same users, 2 and 3 have not; 4 lacks the modality, and 5 is new."""
    projection, interactions = in_two_groups("category", SHARED)
    rows = torch.nn.functional.normalize(interactions.select(torch.arange(4)).mark(torch.zeros(4, 5)))
    rows -= rows.mean(0)
    pairs = torch.tensor([2 * rows[0] @ rows[1], 2 * rows[2] @ rows[3], 0])
    typical = (pairs / 2).sum() / 2
    of_a_value = (pairs + 20 * typical).clamp(min=0) / (torch.tensor([2, 2, 0]) + 20)
    common = torch.tensor([2, 2, 0]) * of_a_value / (rows**2).sum(1).mean()
    assert common[0] > common[1] > 0
    torch.testing.assert_close(projection.importance, common / (1 + common))
    embedded = projection(projection.stored(torch.tensor([1, 5])))
    torch.testing.assert_close(embedded, projection.table.weight[:2] * projection.importance[:2].unsqueeze(1))


def liked_by_group(group, generator):
    """Interactions (N, 100) of the entities of four groups, each with a quarter that its entities like more."""
    shares = torch.where(group.unsqueeze(1) == torch.arange(100) % 4, 0.3, 0.05)
    liked = torch.rand(shares.shape, generator=generator) < shares
    return SparseRows.from_pairs(*liked.nonzero().unbind(1), *shares.shape)


def test_values_at_random_count_little_and_those_that_interactions_follow_much():
    generator, every = torch.Generator().manual_seed(0), torch.arange(200)
    group, at_random = every % 4, 4 + torch.randint(10, (200,), generator=generator)
    values = SparseRows.from_pairs(torch.cat([every, every]), torch.cat([group, at_random]), 200, 14)
    weights = agreement(values, liked_by_group(group, generator))
    assert weights[:4].min() > 0.8 and weights[4:].mean() < 0.1


def test_the_bins_of_a_number_count_as_tags_do():
    generator, every = torch.Generator().manual_seed(0), torch.arange(200)
    interactions, weights = liked_by_group(every // 50, generator), []
    for numbers in (every, torch.rand(200, generator=generator)):
        entry = number_modality("price", numbers.numpy())
        projection = KINDS["number"].projection(entry, interactions, [3], LINEAR_INPUTS)
        columns = piecewise_linear(projection.values, projection.edges) * projection.importance
        torch.testing.assert_close(projection(projection.values), projection.network(columns))
        weights.append(projection.importance)
    assert weights[0].min() > 0.7 and weights[1].mean() < 0.1


@pytest.mark.parametrize("value", [0, 1])
def test_a_number_of_two_values_counts_as_the_one_whose_entities_agree(value):
    generator, every = torch.Generator().manual_seed(0), torch.arange(200)
    entry = number_modality("on_sale", torch.where(every < 48, value, 1 - value).numpy())
    projection = KINDS["number"].projection(entry, liked_by_group(every // 50, generator), [3], LINEAR_INPUTS)
    assert projection.importance[0] > 0.7 and not projection.importance[1:].any()


def test_tags_and_ngrams_count_as_categories_do():
    importance = in_two_groups("category", SHARED)[0].importance
    tags = SparseRows.from_pairs([*range(6), 5], [*SHARED.tolist(), 2], 6, 3)
    projection, _ = in_two_groups("tags", tags)
    torch.testing.assert_close(projection.importance, importance)
    weighted = projection.table.weight * importance.unsqueeze(1)
    embedded = projection(projection.stored(torch.tensor([0, 5])))
    torch.testing.assert_close(embedded, torch.stack([weighted[0], weighted[1] + weighted[2]]))
    several = SparseRows.from_pairs([0, 0, 1, 2, 3], [0, 1, 0, 1, 1], 6, 3)
    of_tags, of_ngrams = (in_two_groups(kind, several)[0].importance for kind in ("tags", "ngrams"))
    torch.testing.assert_close(of_ngrams, of_tags / (5 / 4))


def test_the_agreement_of_many_values_is_the_same_in_parts(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    values, interactions = (
        SparseRows.from_pairs(*torch.randint(30, (2, 200), generator=generator), 30, 30) for _ in range(2)
    )
    whole = agreement(values, interactions)
    monkeypatch.setattr(agreement_of, "ENTRIES", 50)
    assert 0 < whole.max() < 1 and torch.equal(agreement(values, interactions), whole)


@pytest.mark.parametrize("rows", [[], [0, 1, 2]])
def test_entities_without_interactions_or_all_alike_have_nothing_in_common_beyond_chance(rows):
    interactions = SparseRows.from_pairs(rows, [0] * len(rows), 3, 4)
    assert not agreement(SparseRows.from_pairs([0, 1, 2], [0, 0, 1], 3, 2), interactions).any()


def test_vectors_have_the_same_mean_length_whatever_their_file_has():
    values = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * 30 + 7
    trained = torch.ones(50, dtype=torch.bool)
    projection = VectorProjection(
        Modality("image", "vector", trained, values, 6), rows_of_trained(trained), [6], LINEAR_INPUTS
    )
    projection.network = torch.nn.Identity()
    assert projection(values).norm(dim=1).mean().item() == pytest.approx(VectorProjection.LENGTH, rel=1e-5)


@pytest.mark.parametrize("noise", [0, 1e-8])
def test_vectors_that_are_all_the_same_are_no_measure_of_others(noise):
    values = torch.full((50, 6), 0.3) + noise * torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    values[-1], there = 1.0, torch.ones(50, dtype=torch.bool)
    entry, trained = Modality("image", "vector", there, values, 6), torch.arange(50) < 49
    projection = VectorProjection(entry, rows_of_trained(trained), [6], LINEAR_INPUTS)
    projection.network = torch.nn.Identity()
    assert projection(values).norm(dim=1).max() < 1
    assert not KINDS["vector"].blocks(entry, trained, WEIGHTS)[0].factor


def test_parameter_counts():
    """Widths: projection 8, encoder 8 -> 6 -> 8. Item features: 30 users, 7, 1, 4, 5; user profile: 25 items."""
    projections = (30 * 8 + 8) + (7 * 8 + 8) + (8 + 8) + 4 * 8 + 5 * 8
    network = (8 * 6 + 6) + (6 * 8 + 8)
    user = 25 * 8 + 8
    normalisation, attention = 8 + 8, 8 + 5
    sizes = {"projection_size": 8, "encoder_hidden_sizes": [6]}
    normalised = network - 8 + normalisation  # in place of the last layer's bias
    assert build(SiBraR, **sizes).n_parameters == projections + normalised + user
    assert build(MuBraR, **sizes).n_parameters == projections + 5 * normalised + user
    sizes["batch_norm"] = False
    assert build(SiBraR, **sizes).n_parameters == projections + network + user
    assert build(SiBraR, **sizes, fusion="attention").n_parameters == projections + network + attention + user
    assert build(SiBraR, **sizes, number_encoding="bins").n_parameters == projections + 7 * 8 + network + user
    assert build(SiBraR, **sizes, joint_modality=True).n_parameters == projections + network + user
    assert build(MuBraR, **sizes, joint_modality=True).n_parameters == projections + 6 * network + user


def test_modality_sampling_is_uniform_and_within_what_is_available():
    available = torch.tensor([[True, True, True, False], [False, False, True, False], [False] * 4]).repeat(2000, 1)
    choice = sample_modalities(available, 2, torch.Generator().manual_seed(0))
    assert (choice[1::3] == torch.tensor([2, -1])).all() and (choice[2::3] == -1).all()
    counts = torch.bincount(choice[0::3].flatten(), minlength=4)
    assert counts[3] == 0 and (counts[:3] / 4000 - 1 / 3).abs().max() < 0.03
    mask = chosen_mask(choice, 4)
    assert not (mask & ~available).any() and (mask.sum(1) == torch.tensor([2, 1, 0]).repeat(2000)).all()


def test_one_modality_is_always_drawn_and_the_others_uniformly():
    available = torch.tensor([[True] * 4, [True, False, True, True], [False, True, True, False]]).repeat(2000, 1)
    choice = sample_modalities(available, 2, torch.Generator().manual_seed(0), always=1)
    counts = torch.bincount(choice[0::3, 1], minlength=4)
    assert (choice[0::3, 0] == 1).all() and counts[1] == 0 and (counts[[0, 2, 3]] / 2000 - 1 / 3).abs().max() < 0.04
    assert (choice[2::3] == torch.tensor([1, 2])).all() and (choice[1::3].diff(dim=1) != 0).all()
    assert available.repeat_interleave(2, 0)[torch.arange(12000), choice.flatten()].all()


def test_subsets_are_of_any_size_and_the_two_that_are_contrasted_share_nothing():
    has = torch.tensor(
        [[True, True, True, False], [False, True, False, True], [False, False, True, False], [False] * 4]
    )
    available, rows = has.repeat(3000, 1), torch.arange(12000) % 4
    draw = draw_subsets(available, True, torch.Generator().manual_seed(0))
    fused, first, second = (chosen_mask(view, 4) for view in draw.views)
    assert not ((fused | first | second) & ~available).any()
    assert (fused.any(1) == available.any(1)).all() and not (first & second).any()
    assert ((first | second) == available).all() and (second.any(1) == (available.sum(1) > 1)).all()
    # each size equally often, and each subset of a size: of fused 1 to 3 of three, of first 1 or 2
    for view, largest in ((fused, 3), (first, 2)):
        subsets, counts = view[rows == 0].unique(dim=0, return_counts=True)
        expected = [1 / largest / comb(3, int(size)) for size in subsets.sum(1)]
        assert len(subsets) == {3: 7, 2: 6}[largest]
        torch.testing.assert_close(counts / 3000, torch.tensor(expected), atol=0.03, rtol=0)
    assert draw_subsets(available, False, torch.Generator().manual_seed(0)).views[1:] == ()


@every_model
def test_every_contrast_is_with_the_interactions(model_class, monkeypatch):
    model = build(model_class, modality_sampling="interactions")
    place, draws = model.entities("item").names.index("interactions"), []
    original = TrainingStep._draw
    monkeypatch.setattr(TrainingStep, "_draw", lambda *a: draws.append(original(*a)) or draws[-1])
    items = torch.arange(1, 13).view(4, 3)
    model.loss(PairBatch(torch.arange(1, 5), items[:, 0], items[:, 1:]))
    has = model.entities("item").available[items.flatten(), place]
    assert has.any() and (draws[0].first[has] == place).all() and not (draws[0].second == place).any()


def test_hidden_and_shown_entries_are_a_profile_with_something_hidden_in_every_row():
    rows = SparseRows.from_pairs(torch.arange(400) // 4, torch.arange(400) % 4, 101, 5)
    shown, hidden = hide_entries(rows, 0.25, torch.Generator().manual_seed(0))
    both = shown.mark(torch.zeros(101, 5)) + hidden.mark(torch.zeros(101, 5))
    assert torch.equal(both, rows.mark(torch.zeros(101, 5)))
    assert (hidden.lengths[:100] > 0).all() and hidden.lengths[100] == 0
    share = 0.25 + 0.75**4 / 4  # the smallest of four draws is hidden in any case
    assert abs(hidden.lengths.sum() / 400 - share) < 0.05


@pytest.mark.parametrize("single_branch", ["item", "both"])
@pytest.mark.parametrize("targets", ["all", "hidden"])
def test_a_pair_to_predict_is_hidden_from_both_profiles(single_branch, targets):
    share = {"all": 0.0, "hidden": 0.99}[targets]
    settings = HIDDEN | {"softmax_targets": targets, "interaction_dropout": share, "activate_projections": "none"}
    model = build(SiBraR, **settings, variant="base", single_branch=single_branch)
    of_users, of_items = (model.entities(side).projections[0] for side in ("user", "item"))
    of_items.hidden = 0
    sum(model.loss(UserBatch(torch.arange(1, 5)))).backward()
    reads_items = of_users.table.weight.grad is not None and bool(of_users.table.weight.grad.any())
    reads_users = bool(of_items.table.weight.grad[1:5].any())
    assert reads_items == reads_users == (targets == "all")


@pytest.mark.parametrize("name", ALL_MODELS)
def test_the_default_of_an_option_stands_in_its_class_alone(name):
    values = yaml.safe_load((props_folder() / "model" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert not set(values) & set(vars(ALL_MODELS[name].options_class()))
    if "preset" in values:
        assert ModelOptions.from_mapping(preset(values["preset"])) == ModelOptions()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"variant": "bse"}, "variant | 'bse' | 'base'"),
        ({"temperature": 0}, "temperature | 0 | number"),
        ({"temperature": "0.1"}, "temperature | '0.1' | number"),
        ({"embedding_size": 2.5}, "embedding_size | 2.5 | 1 | integer"),
        ({"input_dropout": 1.5}, "input_dropout | 1.5 | 0 | 0.99 | number"),
        ({"encoder_hidden_sizes": ["64"]}, "encoder_hidden_sizes is"),
        ({"batch_norm": "yes"}, "batch_norm | 'yes' | True or False"),
        ({"item_modalities": []}, "item_modalities | empty"),
        ({"n_sampled_modalities": 1}, "variant SC contrasts two"),
        ({**SOFTMAX, "contrastive_set": "negatives"}, "contrastive_set | 'negatives' | rec_loss=bpr"),
        ({**SOFTMAX, "modality_draw": "occurrence"}, "modality_draw | 'occurrence' | rec_loss=bpr"),
        (
            {"modality_sampling": "subset", "n_sampled_modalities": 3},
            "with modality_sampling=subset the number is random",
        ),
        ({"modality_sampling": "interactions", "variant": "S"}, "N_mod | 1"),
        (
            {"modality_sampling": "interactions", "item_modalities": ["genres"]},
            "item_modalities | 'genres'",
        ),
        ({**SOFTMAX, "softmax_targets": "hidden", "interaction_dropout": 0.0}, "nothing is left to predict"),
        ({"contrastive_similarity": "cosin"}, "Did you mean 'cosine'"),
        ({"single_branch": "items"}, "Did you mean 'item'"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(OptionError, match=naming(message)):
        ModelOptions(**options)


@pytest.mark.parametrize(
    "options, scenario, message",
    [
        ({"single_branch": "user"}, "item_cold", "needs the item side to be single-branch"),
        ({"eval_item_modalities": ["interactions"]}, "item_cold", "needs a modality of the items beside"),
        ({"single_branch": "item"}, "user_cold", "needs the user side"),
    ],
)
def test_scenarios_that_a_model_cannot_serve_are_refused(options, scenario, message):
    with pytest.raises(OptionError, match=naming(message)):
        build(SiBraR, **options).requirements(scenario)


@pytest.mark.parametrize("options", [{"variant": "S"}, {}, {"content_prior": 1.0}, {"n_sampled_modalities": 3}])
@every_model
def test_a_step_without_embeddings_of_occurrences_is_the_step_with_them(model_class, options, monkeypatch):
    found = []
    for sums_rows in (True, False):
        model = network(model_class, **{"contrastive_weight": 0.3, **options})
        step = TrainingStep(model)
        assert step._sums_rows("item")
        if not sums_rows:
            monkeypatch.setattr(step, "_sums_rows", lambda side: False)
        terms = step.terms(batch(model.options))
        gradients = torch.autograd.grad(sum(terms), list(model.parameters()), allow_unused=True)
        found.append((terms, [gradient for gradient in gradients if gradient is not None]))
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("options", [{}, {"variant": "S"}, {"fusion": "attention"}])
@every_model
def test_only_what_is_drawn_for_an_occurrence_is_encoded(model_class, options, monkeypatch):
    """Loss and gradients are those of a step that encodes all there is (but for batch normalisation, of fewer rows)."""
    found, n_rows = [], []
    for is_drawn in (True, False):
        model = build(model_class, batch_norm=False, input_dropout=0.0, contrastive_weight=0.3, **options)
        encoder = model.entities("item")
        if not is_drawn:
            every = lambda ids, used, own=encoder: type(own).rows(own, ids, own.available[ids])  # noqa: E731
            monkeypatch.setattr(encoder, "rows", every)
        encoder.encoder.register_forward_hook(lambda module, blocks, rows: n_rows.append(len(rows)))
        items = torch.arange(1, 13).view(6, 2)
        terms = model.loss(PairBatch(torch.arange(1, 7), items[:, 0], items[:, 1:]))
        gradients = torch.autograd.grad(sum(terms), list(model.parameters()), allow_unused=True)
        found.append((terms, [gradient for gradient in gradients if gradient is not None]))
    assert n_rows[0] < n_rows[1]
    torch.testing.assert_close(*found, atol=1e-6, rtol=1e-4)


def test_rows_at_length_one_and_their_gradients_are_torchs_but_for_rows_of_zeros():
    rows = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    rows[2], rows[3] = 0, 1e3 * rows[3]
    rows.requires_grad_()
    found, expected = layers.unit_rows(rows), torch.nn.functional.normalize(rows, dim=-1)
    torch.testing.assert_close(found, expected)
    own, theirs = (torch.autograd.grad(unit.sin().sum(), rows)[0] for unit in (found, expected))
    assert not own[2].any() and theirs[2].abs().min() > 1e11
    torch.testing.assert_close(own[rows.detach().any(1)], theirs[rows.detach().any(1)])


@pytest.mark.parametrize("scaling", ["raw", "unit"])
@pytest.mark.parametrize("hidden", [0.0, 0.4])
def test_an_interaction_row_is_a_weighted_sum_of_what_is_not_hidden(scaling, hidden):
    """Against the product with the dense rows, entries hidden as dropout of them would."""
    options = ModelOptions(interaction_scaling=scaling, interaction_dropout=hidden, activate_projections="none")
    entry = side_modalities()["item"].select(["interactions"]).entries[0]
    projection = InteractionProjection(entry, entry.values, [4], options)
    rows = projection.stored(torch.arange(len(entry.available)))
    torch.manual_seed(1)
    found = projection(rows)
    torch.manual_seed(1)
    dense = rows.mark(torch.zeros(len(rows.lengths), rows.n_columns), 1.0)
    dense[dense > 0] = torch.nn.functional.dropout(torch.ones(len(rows.columns)), hidden)
    scale = rows.lengths.clamp(min=1).rsqrt().unsqueeze(1) if scaling == "unit" else 1
    torch.testing.assert_close(found, dense * scale @ projection.table.weight + projection.bias)


def test_from_some_size_on_the_softmax_draws_negatives_that_stand_for_the_catalogue(monkeypatch):
    model = network(MODELS[0], **SOFTMAX)
    step = TrainingStep(model)
    assert step._n_negatives() is None
    monkeypatch.setattr(training_step, "WHOLE_CATALOGUE", 10)
    monkeypatch.setattr(training_step, "NEGATIVES", 6)
    assert step._n_negatives() == 6 and torch.isfinite(sum(step.terms(batch(model.options))))
    assert TrainingStep(network(MODELS[0], **SOFTMAX, softmax_negatives=1000))._n_negatives() is None
    own = SparseRows(model.indptr, model.targets, len(model.catalogue)).select(torch.arange(1, 13))
    step.generator.manual_seed(0)
    items, weights = step._softmax_items(own, 40_000)
    assert items.equal(torch.arange(len(model.catalogue)))
    torch.testing.assert_close(weights, torch.ones(len(items)), atol=0.15, rtol=0)
    items, weights = step._softmax_items(own, 1)
    assert torch.isin(own.columns, items).all() and (weights > 0).sum() == 1
    few = 0
    step.generator.manual_seed(0)
    popular = torch.bincount(model.targets).argmax()
    nobody = SparseRows.from_pairs([], [], 1, len(model.catalogue))
    for _ in range(400):
        items, weights = step._softmax_items(nobody, 4)
        few += (items == popular).any()
    assert few / 400 > 1.2 * (1 - (1 - 1 / len(model.catalogue)) ** 4)


def test_a_step_with_drawn_negatives_predicts_so_many_targets_at_most(monkeypatch):
    model = network(MODELS[0], **SOFTMAX, softmax_negatives=5)
    own = SparseRows(model.indptr, model.targets, len(model.catalogue))
    step = TrainingStep(model)
    assert step._some(own) is own
    monkeypatch.setattr(training_step, "TARGETS", len(own.columns) // 3)
    kept = [len(step._some(own).columns) for _ in range(30)]
    assert sum(kept) / 30 == pytest.approx(len(own.columns) / 3, rel=0.15)
