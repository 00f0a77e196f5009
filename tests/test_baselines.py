"""The baselines against closed forms, slow loops and scikit-learn, and what all of them promise."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import naming, rows_of_trained
from sklearn.linear_model import Ridge
from test_models import N_ITEMS, N_USERS, all_scores, interactions, plot_of_cold_items, side_modalities

from recbole_sibrar.cli import main
from recbole_sibrar.data.modalities import Modalities, Modality
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.errors import OptionError
from recbole_sibrar.kinds import WEIGHTS
from recbole_sibrar.kinds import block as kind_block
from recbole_sibrar.kinds.interactions import interaction_modality
from recbole_sibrar.kinds.number import NumberBlock
from recbole_sibrar.kinds.tags import TagPairsBlock, TagsBlock
from recbole_sibrar.models import MODELS, als, components, dropoutnet, regression
from recbole_sibrar.models.als import implicit_als
from recbole_sibrar.models.autoencoder import LinearAutoencoder
from recbole_sibrar.models.batches import PairBatch, UserBatch
from recbole_sibrar.models.clcrec import CLCRec
from recbole_sibrar.models.components import LinearComponents
from recbole_sibrar.models.content import ContentLayer, ContentModel
from recbole_sibrar.models.decomposition import EXACT
from recbole_sibrar.models.dropoutnet import DropoutNet
from recbole_sibrar.models.features import LinearFeatures
from recbole_sibrar.models.kernel_ridge import KernelRidge
from recbole_sibrar.models.mf import MF
from recbole_sibrar.models.regression import ContentRegression
from recbole_sibrar.models.ridge import ContentRidge
from recbole_sibrar.recbole_plugin.capabilities import capability_table
from recbole_sibrar.recbole_plugin.prepared import make_config, prepare
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.serving.recommender import Recommender

BASELINES = [model for model in MODELS.values() if issubclass(model, ContentModel)]
CLOSED_FORMS = [model for model in MODELS.values() if model.closed_form]
SMALL = {
    CLCRec: {"embedding_size": 8},
    DropoutNet: {"embedding_size": 8, "als_iterations": 2},
    ContentRidge: {},
    KernelRidge: {"rank": 8},
    LinearAutoencoder: {},
    MF: {"embedding_size": 8},
}
WHOLE = {ContentRidge: {}, KernelRidge: {"rank": 1000}}
every_baseline = pytest.mark.parametrize("model_class", BASELINES)
every_closed_form = pytest.mark.parametrize("model_class", CLOSED_FORMS)
every_side = pytest.mark.parametrize("side", ["item", "user"])


def content(side, **replaced):
    """Modalities of both sides; those of the content side have missing values, and its last entity has none at all."""
    known = side_modalities(**replaced)
    if side == "item":
        return known
    n = min(N_USERS, N_ITEMS)
    entries = [
        Modality(entry.name, entry.kind, entry.available[:n], entry.values[:n], entry.width)
        for entry in known["item"].entries
        if entry.kind in ("vector", "number", "category")
    ]
    padded = [
        Modality(
            entry.name,
            entry.kind,
            F.pad(entry.available, (0, N_USERS - n)),
            torch.cat([entry.values, entry.values[: N_USERS - n]]),
            entry.width,
        )
        for entry in entries
    ]
    return {**known, "user": Modalities("user", (known["user"].entries[0], *padded))}


def build(model_class, side="item", modalities=None, pretrained=True, **options):
    torch.manual_seed(0)
    matrix = SparseRows.from_pairs(*interactions(), N_USERS, N_ITEMS)
    if issubclass(model_class, ContentModel):
        options = {"content_side": side, **options}
    options = model_class.options_class(**{**SMALL[model_class], **options})
    model = model_class(options, modalities or content(side), matrix, seed=3)
    if pretrained:
        model.pretrain(Path("pretrained"), False)
    return model


def batch(model):
    users = torch.arange(1, 13)
    if model.options.batches == "all_users":
        return UserBatch(users)
    items = torch.randint(1, 20, (12, 5), generator=torch.Generator().manual_seed(4))
    return PairBatch(users, items[:, 0], items[:, 1:])


# what all of them promise


@every_side
@every_baseline
def test_trains_and_scores(model_class, side):
    model = build(model_class, side)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        loss = sum(model.loss(batch(model)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < sum(losses[:5])
    assert torch.isfinite(all_scores(model)).all()


@every_side
@every_baseline
def test_masked_values_change_nothing(model_class, side):
    clean, outputs = content(side), []
    entries = []
    for entry in clean[side].entries:
        values = entry.values
        if entry.kind in ("vector", "number"):
            values = values.clone()
            values[~entry.available] = float("nan")
        elif entry.kind == "category":
            values = torch.where(entry.available, values, (values + 1) % 4)
        entries.append(Modality(entry.name, entry.kind, entry.available, values, entry.width))
    for modalities in (clean, {**clean, side: Modalities(side, tuple(entries))}):
        model = build(model_class, side, modalities)
        loss = sum(model.loss(batch(model)))
        loss.backward()
        norm = sum(p.grad.abs().sum() for p in model.parameters() if p.grad is not None)
        outputs.append((loss.item(), float(norm), all_scores(model)))
    assert outputs[0][:2] == outputs[1][:2]
    assert torch.equal(outputs[0][2], outputs[1][2])


@every_side
@every_baseline
def test_what_is_left_out_of_evaluation_is_not_read_there(model_class, side):
    """Scores of a cold entity with only ``plot`` left are those of an entity that has nothing else."""
    model = build(model_class, side, **{f"eval_{side}_modalities": "plot"})
    model.loss(batch(model))
    names = model.modalities[side].names
    alone = torch.zeros_like(model.available)
    alone[:, names.index("plot")] = model.available[:, names.index("plot")]
    assert torch.equal(model.read, alone)


@every_side
@every_baseline
def test_an_entity_without_training_and_content_has_the_mean_embedding(model_class, side):
    model = build(model_class, side).eval()
    model.loss(batch(model))
    empty = (~model.trained(side) & ~model.available.any(1)).nonzero()[-1]
    known = model.trained(side).nonzero().squeeze(1)
    own = model.embeddings(side, empty)[0]
    mean = model.embeddings(side, known).mean(0)
    assert torch.allclose(own, mean, atol=1e-5) or issubclass(model_class, ContentRegression)
    assert torch.isfinite(own).all()


@every_baseline
def test_a_modality_that_no_training_entity_has_is_not_read(model_class):
    scores = []
    for value in (1.0, 9.0):
        model = build(model_class, modalities=content("item", plot=plot_of_cold_items(value))).eval()
        model.loss(batch(model))
        of_new = model.embed(model.modalities["item"].rows(torch.tensor([22])))
        scores.append((all_scores(model), of_new))
    assert all(map(torch.equal, *scores))


@every_baseline
def test_what_is_untrained_never_scores(model_class):
    """Users without training interactions of an item version: whatever stands in their rows, scores stay."""
    model = build(model_class).eval()
    model.loss(batch(model))
    cold_user = (~model.trained("user")).nonzero().squeeze(1)[-1]
    before = all_scores(model)
    with torch.no_grad():
        for name, values in [*model.named_parameters(), *model.named_buffers()]:
            if name in ("tables.user.weight", "preference_user"):
                values[cold_user] += 100
        if model_class is CLCRec:
            model.tables["item"].weight[~model.trained("item")] += 100
    assert torch.equal(all_scores(model), before)


@every_side
@every_baseline
def test_scenarios_and_modalities_that_cannot_be_served_are_refused(model_class, side):
    other = "user" if side == "item" else "item"
    with pytest.raises(OptionError, match=f"needs the content of the {other}s.*--content_side={other}"):
        build(model_class, side, pretrained=False).requirements(f"{other}_cold")
    with pytest.raises(OptionError, match=f"{side}_modalities names 'interactions', which are no content"):
        build(model_class, side, pretrained=False, **{f"{side}_modalities": "interactions,plot"})
    known = content(side)
    bare = {**known, side: known[side].select(["interactions"])}
    with pytest.raises(
        OptionError, match=f"{model_class.__name__} needs a modality of the {side}s beside the interactions"
    ):
        build(model_class, side, bare, pretrained=False)


@pytest.mark.parametrize("scenario", ["item_cold", "user_cold"])
@pytest.mark.parametrize("model", MODELS)
def test_what_a_model_declares_is_so(tiny, model, scenario):
    """No fallback stands in, masked modalities are taken, and a checkpoint serves what was declared."""
    capabilities = MODELS[model].capabilities
    missing = {"missing": {"rate": 0.5}} if capabilities.missing_modalities else {}
    result = run(model, "tiny", None, tiny.options(scenario=scenario, **missing))
    side = scenario.removesuffix("_cold")
    assert set(result.cold_fallback) == {side} - capabilities.cold_sides
    assert capabilities.pretraining == Path("results/.pretrained").exists()
    recommender = Recommender.load(f"results/{result.name}/model.pth")
    assert isinstance(recommender, Recommender) == (capabilities.new_entities or capabilities.new_content)
    cold = [f"u{n}" for n in range(1, 41)] if scenario == "user_cold" else ["u1"]
    serves = side in capabilities.cold_sides or capabilities.new_entities
    if serves or scenario == "item_cold":
        table = recommender.recommend(cold, k=30, exclude_seen=False)
        assert len(table) == (30 if serves else 24) * len(cold) and np.isfinite(table["score"]).all()
    else:
        with pytest.raises(OptionError, match=naming("MF | no training")):
            recommender.recommend(cold)
    if capabilities.new_entities or capabilities.new_content and side == "user":
        new = recommender.recommend([["i1", "i2"]], k=5)
        assert len(new) == 5 and np.isfinite(new["score"]).all()
    else:
        with pytest.raises(OptionError):
            recommender.recommend([["i1", "i2"]])


def test_the_readme_table_is_the_declarations():
    readme = (Path(__file__).resolve().parents[1] / "docs/models.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- capabilities: begin -->\n(.*?)\n<!-- capabilities: end -->", readme, re.DOTALL)
    assert block and block[1].strip() == capability_table()


def test_models_command(capsys):
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert capability_table() in out and "LightGCN" in out and "RaCT (RecBole trains it in three" in out


def test_a_missing_modality_adds_nothing_to_the_content_layer():
    known = side_modalities()["item"].select(["plot", "year", "label", "genres"])
    layer = ContentLayer(known, rows_of_trained(torch.ones(N_ITEMS, dtype=torch.bool)), 6)
    ids, used = torch.arange(N_ITEMS), known.available
    expected = torch.zeros(N_ITEMS, 6)
    for item in range(N_ITEMS):
        for m, projection in enumerate(layer.projections):
            if used[item, m]:
                expected[item] += projection(projection.stored(torch.tensor([item])))[0]
    assert torch.allclose(layer(ids, used), expected, atol=1e-5)


# the closed forms


def solved(model_class, side="item", **options):
    model = build(model_class, side, **options).eval()
    model.loss(batch(model))
    return model


@every_side
@every_closed_form
def test_new_entities_get_what_the_same_known_ones_have(model_class, side):
    """By their content, or by their history; who is not in the training data is the mean, or has its content alone."""
    model = solved(model_class, side)
    for of in ("user", "item"):
        ids = torch.arange(1, len(model.entities(of).trained))
        new = model.embed(model.modalities[of].rows(ids))
        torch.testing.assert_close(new, model.embeddings(of, ids), atol=1e-3, rtol=1e-3)
        assert torch.isfinite(new).all()


@every_side
@every_closed_form
def test_what_modalities_add_makes_up_the_score(model_class, side):
    model = solved(model_class, side)
    scores = all_scores(model)
    for user, item in ((1, 3), (2, 22), (3, 24), (29, 5)):
        for new in (False, True):
            parts = {
                of: model.parts(of, model.modalities[of].rows(torch.tensor([n])) if new else n)
                for of, n in (("user", user), ("item", item))
            }
            total = sum(float(own.vector @ other.vector) for own in parts["user"] for other in parts["item"])
            assert total == pytest.approx(float(scores[user, item]), abs=1e-3)
            for of in parts:
                assert {part.modality for part in parts[of]} <= {*model.entities(of).names, "(mean)"}
                assert {part.source for part in parts[of]} == {model_class.__name__}


@every_closed_form
def test_a_history_that_is_missing_in_evaluation_is_not_read(model_class):
    """As that of a new user is not."""
    model = solved(model_class)
    users, lacking = model.entities("user"), torch.arange(1, 10)
    users.evaluated = users.evaluated.index_fill(0, lacking, False)
    (history,) = model.modalities["user"].rows(lacking).entries
    new = Modalities("user", (replace(history, available=torch.zeros_like(history.available)),))
    torch.testing.assert_close(model.embeddings("user", lacking), model.embed(new))


@every_closed_form
def test_a_solution_is_finite_where_nobody_has_content_or_interactions(model_class):
    known = content("item")
    entries = [
        Modality(entry.name, entry.kind, torch.zeros_like(entry.available), entry.values, entry.width)
        if entry.name != "interactions"
        else entry
        for entry in known["item"].entries
    ]
    model = build(model_class, "item", {**known, "item": Modalities("item", tuple(entries))})
    assert torch.isfinite(model.loss(batch(model))[0]) and torch.isfinite(all_scores(model)).all()


@pytest.mark.parametrize("model_class", [ContentRidge, KernelRidge])
@every_side
def test_what_is_left_out_of_evaluation_changes_nothing_there(model_class, side):
    """With ``plot`` left, an entity has what the same one has that lacks the rest."""
    model = solved(model_class, side, **{f"eval_{side}_modalities": "plot"})
    plot = torch.zeros_like(model.available)
    place = model.modalities[side].names.index("plot")
    plot[:, place] = model.available[:, place]
    whole = solved(model_class, side)
    ids = torch.arange(len(plot))
    expected = torch.cat([whole.with_modalities(side, int(n), plot[n : n + 1]) for n in ids])
    torch.testing.assert_close(model.embeddings(side, ids), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "model_class, exact_up_to",
    [(ContentRidge, EXACT), (ContentRidge, 0), (KernelRidge, EXACT)],
    ids=["exact", "iterated", "kernel"],
)
def test_with_fewer_components_a_ridge_is_close_to_the_exact_one(model_class, exact_up_to, monkeypatch):
    exact, errors = all_scores(solved(model_class, ridge_max=100.0, **WHOLE[model_class])), []
    monkeypatch.setattr(components, "EXACT", exact_up_to)
    for factors in (4, 10, 16):
        monkeypatch.setattr(model_class, "FACTORS", factors)
        model = solved(model_class, ridge_max=100.0, **WHOLE[model_class])
        assert model.components.rank == factors < model.n_trained
        errors.append(float((all_scores(model) - exact).norm() / exact.norm()))
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.05


@pytest.mark.parametrize("wide", [False, True], ids=["more entities than features", "more features than entities"])
def test_every_way_to_the_components_finds_the_same(wide, monkeypatch):
    """From the features' products, from the entities' and by iteration."""
    trained = torch.arange(N_ITEMS) < (9 if wide else N_ITEMS)
    content_ = content("item")["item"].content.select(["plot", "year", "label"] if wide else ["year", "label"])
    columns = LinearFeatures(content_, trained, WEIGHTS)
    rows = columns(torch.arange(N_ITEMS), content_.available).dense()
    products = rows @ rows[trained & content_.available.any(1)].T
    for exact_up_to in (EXACT, 0):
        monkeypatch.setattr(components, "EXACT", exact_up_to)
        found = LinearComponents(content_, trained, columns, 1000, seed=0)
        found.fit()
        assert (found.rank < found.features.width) == wide
        every = found.table(content_.available)
        torch.testing.assert_close(every @ found.decomposed(found.known).T, products, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.decomposed_table().square().sum(0), found.squares, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("wide", [False, True], ids=["more entities than features", "more features than entities"])
def test_every_way_to_the_directions_of_a_regression_finds_the_same(wide, monkeypatch):
    """In the span of its coefficients they are of length 1, and the features' products diagonal between them."""
    trained = torch.arange(N_ITEMS) < (9 if wide else N_ITEMS)
    content_ = content("item")["item"].content.select(["plot", "year", "label"] if wide else ["year", "label"])
    columns = LinearFeatures(content_, trained, WEIGHTS)
    targets, spans = torch.randn(N_ITEMS, 3, generator=torch.Generator().manual_seed(0)), []
    for exact_up_to in (EXACT, 0):
        monkeypatch.setattr(components, "EXACT", exact_up_to)
        found = LinearComponents(content_, trained, columns, 3, seed=0)
        rows = found._whole(found.known).dense().double()
        found.decompose(False, targets[found.known])
        directions = found.directions.double()
        between = directions.T @ rows.T @ rows @ directions
        torch.testing.assert_close(directions.T @ directions, torch.eye(3).double(), atol=1e-4, rtol=0)
        torch.testing.assert_close(between, found.squares.double().diag(), atol=1e-3, rtol=1e-3)
        penalty = components.SOLVED_AT * torch.eye(rows.shape[1])
        coefficients = torch.linalg.solve(rows.T @ rows + penalty, rows.T @ targets[found.known].double())
        spans.append(directions @ directions.T)
        missed = (spans[-1] @ coefficients - coefficients).norm() / coefficients.norm()
        assert missed < (1e-5 if exact_up_to else 1e-2)  # ten iterations
    torch.testing.assert_close(*spans, atol=1e-2, rtol=0)


@pytest.mark.parametrize("model_class", [ContentRidge, KernelRidge])
def test_a_penalty_scales_what_was_decomposed_once(model_class, monkeypatch):
    model, calls = build(model_class), []
    monkeypatch.setattr(type(model.components), "decompose", lambda *_: calls.append(None))
    for _ in range(3):
        model.loss(batch(model))
        squares, ids = model.components.squares, torch.arange(1, N_ITEMS)
        expected = model.components(ids, model.read[ids]) * (squares + model.solved_for).rsqrt()
        found = model.eval().embeddings("item", ids)[:, :-1]
        there = squares > 0
        torch.testing.assert_close(found[:, there], expected[:, there], atol=1e-3, rtol=1e-3)
    assert not calls


# ContentRidge


@every_side
def test_ridge_equals_scikit_learn(side):
    model = build(ContentRidge, side, ridge_max=3.0)
    model.loss(batch(model))
    trained = model.trained(side).nonzero().squeeze(1)
    ids = torch.arange(len(model.trained(side)))
    features = model.components.features(ids, model.available).dense().numpy()
    users, items = interactions()
    matrix = np.zeros((N_USERS, N_ITEMS))
    matrix[users, items] = 1
    targets = matrix.T if side == "item" else matrix
    other = model.trained(model.other_side).numpy()
    rival = Ridge(alpha=3.0).fit(features[trained], targets[trained])
    expected = rival.predict(features)[:, other]
    scores = all_scores(model).T if side == "item" else all_scores(model)
    assert np.allclose(scores[:, other], expected, atol=1e-5)
    residual = targets[trained] - rival.predict(features[trained])
    spread = targets[trained] - targets[trained].mean(0)
    model.step.zero_()
    assert float(model.loss(batch(model))[0].detach()) == pytest.approx(
        (residual**2).sum() / (spread**2).sum(), abs=1e-5
    )


def test_the_penalties_go_down_from_epoch_to_epoch():
    model = build(ContentRidge, ridge_max=8.0, ridge_step=0.5)
    later = build(ContentRidge, ridge_max=2.0)
    for _ in range(3):
        model.loss(batch(model))
    later.loss(batch(later))
    assert torch.allclose(all_scores(model), all_scores(later), atol=1e-6)


def test_the_penalty_is_the_best_on_validation_data_of_those_tried(tiny):
    options = tiny.options(scenario="item_cold", epochs=12, ridge_step=0.4, stopping_step=12)
    result = run("ContentRidge", "tiny", None, options)
    scores = []
    for epoch in range(12):
        one = {**options, "epochs": 1, "ridge_max": 1000.0 * 0.4**epoch, "run_name": f"r{epoch}"}
        scores.append(run("ContentRidge", "tiny", None, one))
    best = max(scores, key=lambda one: one.best_valid_score)
    assert result.n_epochs == 12 and result.best_valid_score == best.best_valid_score
    assert [entry["valid"] for entry in result.history] == [one.best_valid_score for one in scores]
    assert result.test_result == best.test_result
    early = run("ContentRidge", "tiny", None, {**options, "stopping_step": 1, "run_name": "early"})
    assert [e["valid"] for e in early.history] == [e["valid"] for e in result.history[: early.n_epochs]]
    assert early.best_valid_score == max(e["valid"] for e in early.history)


def test_pairs_of_tags_are_those_of_training_entities():
    tags = SparseRows.from_pairs([1, 1, 1, 2, 2, 3, 3], [0, 1, 2, 0, 1, 0, 3], 4, 4)
    entry = Modality("genres", "tags", tags.lengths > 0, tags, 4)
    block = TagPairsBlock(entry, torch.tensor([False, True, True, False]), 1.0)
    pairs = set(zip(block.first.tolist(), block.second.tolist()))
    assert pairs == {(0, 1), (0, 2), (1, 2)} and (block.first[0], block.second[0]) == (0, 1)
    assert block.columns_of(block.stored(torch.tensor([2])))[0].tolist() == [1, 0, 0]


def test_only_the_most_frequent_tags_have_columns(monkeypatch):
    monkeypatch.setattr(kind_block, "MAX_VALUES", 2)
    tags = SparseRows.from_pairs([0, 1, 1, 2, 2, 2], [3, 3, 1, 3, 1, 0], 3, 5)
    block = TagsBlock(Modality("genres", "tags", tags.lengths > 0, tags, 5), torch.ones(3, dtype=torch.bool), 1.0)
    assert block.columns_of(tags).tolist() == [[0, 1], [1, 1], [1, 1]]


@pytest.mark.parametrize("block_class", [TagsBlock, TagPairsBlock, NumberBlock])
def test_blocks_are_centred_scaled_and_zero_where_missing(block_class):
    kind = "year" if block_class is NumberBlock else "genres"
    entry = side_modalities()["item"].select([kind]).entries[0]
    trained = torch.arange(N_ITEMS) < 20
    block = block_class(entry, trained, weight=2.0)
    place = entry.available.nonzero().squeeze(1)
    rows = block(block.stored(place), place, N_ITEMS).dense()
    known = rows[entry.available & trained]
    assert known.mean(0).abs().max() < 1e-6 and (rows[~entry.available] == 0).all()
    assert known.square().sum(1).mean().sqrt() == pytest.approx(2.0, abs=1e-5)


# CLCRec


@pytest.mark.parametrize("swap", [0.0, 1.0])
@every_side
def test_clcrec_loss_equals_a_slow_loop(side, swap):
    model = build(CLCRec, side, swap_probability=swap, content_weight=0.3, temperature=0.7)
    pairs = batch(model)
    content_loss, rec_loss = model.loss(pairs)
    z = {name: table.weight.detach() for name, table in model.tables.items()}
    has = model.available.any(1)
    ids = torch.arange(len(has))
    f = model._encode(ids, model.available).detach()
    mixed = {name: table.clone() for name, table in z.items()}
    if swap:
        mixed[side][has] = f[has]
    cosine = F.normalize(z[side], dim=-1) @ F.normalize(f, dim=-1).T
    recommendation, contrast = [], []
    for user, positive, negatives in zip(pairs.users, pairs.positives, pairs.negatives):
        scores = mixed["item"][torch.cat([positive[None], negatives])] @ mixed["user"][user] / 0.7
        recommendation.append(scores.logsumexp(0) - scores[0])
        own = positive if side == "item" else user
        others = negatives if side == "item" else pairs.users[pairs.users != user]
        if has[own]:
            logits = cosine[own][torch.cat([own[None], others[has[others]]])] / 0.7
            contrast.append(logits.logsumexp(0) - logits[0])
    assert float(content_loss.detach()) == pytest.approx(0.3 * float(sum(contrast) / len(contrast)), rel=1e-4)
    expected = 0.7 * float(sum(recommendation) / len(recommendation))
    assert float(rec_loss.detach()) == pytest.approx(expected, rel=1e-4)


def test_the_swap_is_drawn_with_its_probability():
    model = build(CLCRec, swap_probability=0.3)
    drawn = model._drawn((200, 200), torch.Generator().manual_seed(0))
    assert drawn.float().mean() == pytest.approx(0.3, abs=0.01)
    assert 0 < drawn[:, 0].sum() < 200 and 0 < drawn[0].sum() < 200


def test_cold_items_score_by_content_and_trained_ones_by_their_own_embedding():
    model = build(CLCRec).eval()
    embeddings = model.embeddings("item", torch.arange(N_ITEMS))
    trained = model.trained("item")
    cold = ~trained & model.available.any(1)
    assert torch.equal(embeddings[trained], model.tables["item"].weight[trained])
    assert torch.allclose(embeddings[cold], model._encode(cold.nonzero().squeeze(1), model.available[cold]), atol=1e-6)


# DropoutNet and its pre-training


def test_als_equals_dense_loops(monkeypatch):
    monkeypatch.setattr(als, "ENTRIES_AT_A_TIME", 20)
    users, items = interactions()
    matrix = SparseRows.from_pairs(users, items, N_USERS, N_ITEMS)
    dense = torch.zeros(N_USERS, N_ITEMS)
    dense[users, items] = 1
    v = torch.randn(N_ITEMS, 4, generator=torch.Generator().manual_seed(5)) * 0.1
    for _ in range(3):
        u = torch.stack([_solve(row, v) for row in dense])
        v = torch.stack([_solve(row, u) for row in dense.T])
    found = implicit_als(matrix, 4, regularization=0.5, confidence=6.0, n_iterations=3, seed=5)
    assert torch.allclose(found[0], u, atol=1e-4) and torch.allclose(found[1], v, atol=1e-4)
    assert (found[0][matrix.lengths == 0] == 0).all()


def _solve(row, fixed):
    confidence = torch.diag(1 + 6.0 * row)
    return torch.linalg.solve(fixed.T @ confidence @ fixed + 0.5 * torch.eye(4), fixed.T @ confidence @ row)


def test_pretraining_is_done_once_for_the_same_data_and_options(tiny, monkeypatch):
    calls = []
    original = dropoutnet.implicit_als
    monkeypatch.setattr(dropoutnet, "implicit_als", lambda *a, **k: calls.append(1) or original(*a, **k))
    options = tiny.options(epochs=1)
    first = run("DropoutNet", "tiny", None, {**options, "run_name": "a"})
    second = run("DropoutNet", "tiny", None, {**options, "run_name": "b", "learning_rate": 0.003})
    assert len(calls) == 1 and first.test_result == second.test_result
    (path,) = Path("results/.pretrained").glob("*.pt")
    path.write_bytes(path.read_bytes()[:100])
    assert run("DropoutNet", "tiny", None, {**options, "run_name": "c"}).test_result == first.test_result
    assert len(calls) == 2
    for changed in ({"seed": 7}, {"als_confidence": 2.0}, {"scenario": "item_cold"}):
        run("DropoutNet", "tiny", None, {**options, **changed, "run_name": "d"})
    assert len(calls) == 5 and len(list(Path("results/.pretrained").iterdir())) == 4


def test_preferences_are_dropped_entity_by_entity():
    model = build(DropoutNet, preference_dropout=0.4, transform_share=0.5)
    ids = model.trained("item").nonzero().squeeze(1)
    generator = torch.Generator().manual_seed(0)
    kinds = torch.zeros(3)
    for _ in range(200):
        rows = model._dropped("item", ids, generator)
        kept = (rows == model.preference("item")[ids]).all(1)
        zero = (rows == 0).all(1)
        kinds += torch.stack([kept.sum(), zero.sum(), (~kept & ~zero).sum()])
    assert torch.allclose(kinds / kinds.sum(), torch.tensor([0.6, 0.2, 0.2]), atol=0.03)
    assert torch.equal(model._dropped("user", ids, generator), model.preference("user")[ids])


@every_side
def test_the_transform_is_the_mean_of_the_interacted_entities(side):
    model = build(DropoutNet, side)
    users, items = interactions()
    own, other = (items, users) if side == "item" else (users, items)
    entity = int(own[0])
    partners = other[own == entity].unique()
    expected = model.preference(model.other_side)[partners].mean(0)
    assert torch.allclose(model.transformed[entity], expected, atol=1e-6)


def test_dropoutnet_solves_for_a_new_user_s_preference():
    """As ALS does for a user of such a history, and what has no history, or one of items without buyers, is average."""
    model = build(DropoutNet, als_confidence=6.0, als_regularization=0.5).eval()
    cold = int((~model.trained("item")).nonzero()[-1])
    histories, items = [[1, 4, 5], [], [cold]], model.preference("item")
    owners = [row for row, history in enumerate(histories) for _ in history]
    rows = interaction_modality(torch.tensor(owners), torch.tensor(sum(histories, [])), 3, N_ITEMS)
    found = model.embed(Modalities("user", (rows,)))
    dense = torch.zeros(N_ITEMS)
    dense[histories[0]] = 1
    system = items.T @ torch.diag(1 + 6.0 * dense) @ items + 0.5 * torch.eye(items.shape[1])
    preference = torch.linalg.solve(system, items.T @ (dense * 7.0))
    expected = model._encode("user", torch.zeros(1), preference.unsqueeze(0), None, None)[0]
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=1e-5)
    average = model.embeddings("user", model.trained("user").nonzero().squeeze(1)).mean(0)
    torch.testing.assert_close(found[1:], average.expand(2, -1), atol=1e-5, rtol=1e-5)


def test_dropoutnet_loss_equals_a_slow_loop():
    model = build(DropoutNet, preference_dropout=0.0)
    pairs = batch(model)
    model.entities("item").evaluated = model.available
    users, items = (model.own_embeddings(side, torch.arange(n)) for side, n in (("user", N_USERS), ("item", N_ITEMS)))
    errors = [
        float(users[u] @ items[i] - model.preference("user")[u] @ model.preference("item")[i]) ** 2
        for u, positive, negatives in zip(pairs.users, pairs.positives, pairs.negatives)
        for i in (positive, *negatives)
    ]
    assert float(model.loss(pairs)[0].detach()) == pytest.approx(sum(errors) / len(errors), rel=1e-4)


def test_pretraining_reads_training_interactions_only(tiny):
    """The preference vectors of cold items are zero: nothing of their interactions reaches the pre-training."""
    ready = prepare(make_config("DropoutNet", "tiny", None, tiny.options(scenario="item_cold")))
    ready.model.pretrain(ready.config)
    core = ready.model.core
    assert (core.preference("item")[~core.trained("item")] == 0).all() and core.preference("item").any()


# MF


def test_mf_is_bpr_of_inner_products_and_a_bias():
    model, pairs = build(MF), batch(build(MF))
    with torch.no_grad():
        model.bias.weight.copy_(torch.randn(N_ITEMS, 1))
    users, items = (model.tables[side].weight.detach() for side in ("user", "item"))
    bias, terms = model.bias.weight.detach().squeeze(1), []
    for user, positive, negatives in zip(pairs.users, pairs.positives, pairs.negatives):
        score = users[user] @ items[positive] + bias[positive]
        terms += [-F.logsigmoid(score - users[user] @ items[other] - bias[other]) for other in negatives]
    torch.testing.assert_close(model.loss(pairs)[0], torch.stack(terms).mean())
    scores = all_scores(model)
    known = model.entities("item").trained
    torch.testing.assert_close(scores[2][known], (items @ users[2] + bias)[known])
    assert not known.all() and (scores[2][~known] - scores[2][known].mean()).abs().max() < 1e-5


@pytest.mark.parametrize("item_bias", [True, False])
def test_mf_trains(item_bias):
    model = build(MF, item_bias=item_bias)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    losses = []
    for _ in range(30):
        (loss,) = model.loss(batch(model))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert model.n_parameters == 8 * (N_USERS + N_ITEMS) + N_ITEMS * item_bias


@every_side
@pytest.mark.parametrize("model_class", [ContentRidge, KernelRidge])
def test_few_histories_are_summed_by_themselves_and_all_at_once_when_many_are_asked_for(model_class, side, monkeypatch):
    model, at_once = solved(model_class, side), []
    other = model.other_side
    ids = torch.arange(len(model.trained(other)))
    expected = solved(model_class, side).embeddings(other, ids)
    by_rows = regression.sums_by_rows
    monkeypatch.setattr(regression, "sums_by_rows", lambda *given: at_once.append(len(ids)) or by_rows(*given))
    for _ in range(2):
        for number in ids.tolist():
            assert torch.allclose(model.embeddings(other, ids[[number]])[0], expected[number], atol=1e-6)
            assert len(at_once) <= 1
    assert at_once == [len(ids)]
    average = expected[model.trained(other)].mean(0)
    assert torch.allclose(model._average(other), average, atol=1e-6)
