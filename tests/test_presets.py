"""The presets: what the papers say, what it computes, and what its name is."""

import warnings
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import yaml
from conftest import SOFTMAX, naming
from test_models import N_ITEMS, N_USERS, interactions, side_modalities

from recbole_sibrar import checkpoint
from recbole_sibrar.cli import main
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.errors import CheckpointError, OptionError
from recbole_sibrar.experiments.compare import plan_runs
from recbole_sibrar.experiments.plan import ModelSpec, Plan
from recbole_sibrar.kinds import known_to
from recbole_sibrar.models.batches import PairBatch
from recbole_sibrar.models.mubrar import MuBraR
from recbole_sibrar.models.options import ModelOptions
from recbole_sibrar.models.sibrar import SiBraR
from recbole_sibrar.properties import props_folder
from recbole_sibrar.recbole_plugin.config import option_defaults
from recbole_sibrar.recbole_plugin.loaders import POSITIVES, RATE, USERS, UserLoader
from recbole_sibrar.recbole_plugin.names import model_label, run_name
from recbole_sibrar.recbole_plugin.prepared import make_config, prepare
from recbole_sibrar.scenarios import SCENARIOS

FILES = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in (props_folder() / "preset").glob("*.yaml")
}
DEFAULTS = option_defaults("SiBraR")
PRESETS = {name: {**DEFAULTS, **values} for name, values in FILES.items()}
LINEAR = {
    "encoder_hidden_sizes": [],
    "activate_projections": "none",
    "activate_input": False,
    "activate_output": False,
    "batch_norm": False,
    "normalize_input": False,
    "tag_weighting": "mean",  # a sum of tags has no constant that could stand for a bias
}
every_preset = pytest.mark.parametrize("preset", PRESETS)
every_model = pytest.mark.parametrize("model_class", [SiBraR, MuBraR])


def build(model_class, preset, **options):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The encoder of the .* is linear")
        matrix = SparseRows.from_pairs(*interactions(), N_USERS, N_ITEMS)
        options = ModelOptions.from_mapping({**PRESETS[preset], **options})
        return model_class(options, side_modalities(), matrix, seed=3)


# g is not linear


def composed(network):
    """The linear layers of a network one after the other, as a matrix and an offset; what is between is left out."""
    matrix, offset = None, None
    for layer in network:
        if isinstance(layer, torch.nn.Linear):
            weight = layer.weight.detach().double()
            bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach().double()
            matrix = weight if matrix is None else weight @ matrix
            offset = bias if offset is None else weight @ offset + bias
    return matrix, offset


def rewritten_as_sibrar(mubrar, sibrar):
    """Solve for SiBraR's projections: shared g after them shall be, as linear maps, f_k after MuBraR's."""
    shared, offset = composed(sibrar.entities("item").encoder.network)
    inverse = torch.linalg.pinv(shared)
    own = mubrar.entities("item")
    with torch.no_grad():
        for projection, target, network in zip(
            own.projections, sibrar.entities("item").projections, own.encoder.networks, strict=False
        ):
            matrix, constant = composed(network)
            solve = inverse @ matrix
            shift = inverse @ (constant - offset)
            if hasattr(projection, "table"):
                has_bias = hasattr(projection, "bias")
                target.table.weight.copy_(projection.table.weight.double() @ solve.T + (0 if has_bias else shift))
                if has_bias:
                    target.bias.copy_(solve @ projection.bias.double() + shift)
            else:
                target.network[0].weight.copy_(solve @ projection.network[0].weight.double())
                target.network[0].bias.copy_(solve @ projection.network[0].bias.double() + shift)
    return sibrar


def rewriting_error(preset, **options):
    """(M,) how far the embeddings of a rewritten MuBraR are from its own, in units of their length."""
    options["ensemble_size"] = 1  # each network of an ensemble is rewritten as the first
    mubrar, sibrar = (build(model_class, preset, **options).eval() for model_class in (MuBraR, SiBraR))
    with torch.no_grad():
        for parameter in [*mubrar.parameters(), *sibrar.parameters()]:
            if parameter.dim() == 1:  # biases begin at zero
                parameter.add_(0.1 * torch.randn(parameter.shape))
    trained = mubrar.entities("item").trained.nonzero().squeeze(1)
    wanted = mubrar.modality_embeddings("item", trained)
    found = rewritten_as_sibrar(mubrar, sibrar).modality_embeddings("item", trained)
    return (wanted - found).norm(dim=(0, 2)) / wanted.norm(dim=(0, 2))


@every_preset
def test_without_a_nonlinearity_every_mubrar_is_a_sibrar_and_under_the_presets_it_is_not(preset):
    assert (rewriting_error(preset, **LINEAR) < 1e-3).all()
    assert (rewriting_error(preset) > 0.1).all()


@every_preset
@every_model
def test_a_linear_encoder_warns_and_the_presets_do_not(model_class, preset):
    matrix = SparseRows.from_pairs(*interactions(), N_USERS, N_ITEMS)
    with pytest.warns(UserWarning, match="encoder of the items is linear.*exactly the same functions"):
        model_class(ModelOptions.from_mapping({**PRESETS[preset], **LINEAR}), side_modalities(), matrix, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model_class(ModelOptions.from_mapping(PRESETS[preset]), side_modalities(), matrix, 0)


# the papers' equations


class Equations:
    """The papers' model of items with modalities and of users by their profile, written down once more.

    Entities are embedded once for each batch: batch normalisation sees every modality that is drawn of an item once.
    """

    def __init__(self, model, options):
        self.parameters, self.options = dict(model.ensemble.networks[0].named_parameters()), options
        self.shared = isinstance(model, SiBraR)
        users, items = interactions()
        self.matrix = torch.zeros(N_USERS, N_ITEMS)
        self.matrix[users, items] = 1
        trained = self.matrix.any(0)
        self.item = known_to(side_modalities()["item"], trained)
        self.available = torch.stack([entry.available for entry in self.item.entries], dim=1)
        year = self.item.entries[2]
        known = year.values[year.available & trained]
        self.mean, self.deviation = known.mean(), ((known - known.mean()) ** 2).mean().sqrt()

    def __getitem__(self, name):
        return self.parameters.get(name)  # None: no bias

    def projected(self, m, items):
        """Of items that have modality m: W x + b and ReLU for dense features, an embedding or the mean of some."""
        entry, name = self.item.entries[m], f"sides.item.projections.{m}"
        if entry.kind == "interactions":
            return F.relu(self.matrix.T[items] @ self[f"{name}.table.weight"] + self[f"{name}.bias"])
        if entry.kind == "vector":
            return F.relu(
                F.linear(entry.values[items], self[f"{name}.network.0.weight"], self[f"{name}.network.0.bias"])
            )
        if entry.kind == "number":
            number = ((entry.values[items] - self.mean) / self.deviation)[:, None]
            return F.relu(F.linear(number, self[f"{name}.network.0.weight"], self[f"{name}.network.0.bias"]))
        table = self[f"{name}.table.weight"]
        if entry.kind == "category":
            return table[entry.values[items]]
        rows = entry.values.select(items)
        bags = [rows.columns[start:stop] for start, stop in zip(rows.indptr[:-1], rows.indptr[1:])]
        return torch.stack([table[bag].mean(0) if len(bag) else 0 * table[0] for bag in bags])

    def encoded(self, rows, name):
        """Two hidden layers with ReLU, batch normalisation after every second linear layer."""
        hidden = F.relu(F.linear(rows, self[f"{name}.0.weight"], self[f"{name}.0.bias"]))
        hidden = F.linear(hidden, self[f"{name}.2.weight"], self[f"{name}.2.bias"])
        variance = ((hidden - hidden.mean(0)) ** 2).mean(0)
        hidden = (hidden - hidden.mean(0)) / torch.sqrt(variance + 1e-5)
        hidden = F.relu(hidden * self[f"{name}.3.weight"] + self[f"{name}.3.bias"])
        return F.linear(hidden, self[f"{name}.5.weight"], self[f"{name}.5.bias"])

    def modality_embeddings(self, items, used):
        """(I,), (I, M) bool -> (I, M, d), zero where not used."""
        has = [column.nonzero().squeeze(1) for column in used.T]
        rows = [self.projected(m, items[place]) for m, place in enumerate(has)]
        rows = [row / row.norm(dim=1, keepdim=True).clamp(min=1e-12) for row in rows]
        rows = [F.dropout(row, self.options.input_dropout) for row in rows]
        if self.shared:
            together = self.encoded(torch.cat(rows), "sides.item.encoder.network")
            rows = together.split([len(place) for place in has])
        else:
            rows = [self.encoded(row, f"sides.item.encoder.networks.{m}") for m, row in enumerate(rows)]
        table = torch.zeros(len(items), len(has), self.options.embedding_size)
        for m, (place, row) in enumerate(zip(has, rows)):
            table = table.index_put((place, torch.full_like(place, m)), row)
        return table

    def loss(self, batch, generator):
        """The terms: BPR, and alpha times the symmetric InfoNCE over each user's positive and negatives."""
        user_rows = self.matrix[batch.users] @ self["sides.user.projections.0.table.weight"]
        users = F.selu(user_rows + self["sides.user.projections.0.bias"])
        sets = torch.cat([batch.positives[:, None], batch.negatives], dim=1)
        distinct, place = sets.unique(return_inverse=True)
        used = self.available[sets]
        if self.options.variant == "base":
            drawn, n_drawn = used, used.sum(-1)
        else:
            wanted = {"S": 1, "SC": 2}[self.options.variant]
            keys = torch.rand(used.flatten(0, 1).shape, generator=generator).view_as(used)
            order = keys.masked_fill(~used, -1).argsort(dim=-1, descending=True)
            n_drawn = used.sum(-1).clamp(max=wanted)
            drawn = torch.zeros_like(used)
            for nth in range(wanted):
                drawn |= F.one_hot(order[..., nth], used.shape[-1]).bool() & (n_drawn > nth)[..., None]
        read = torch.zeros(len(distinct), used.shape[-1], dtype=torch.long)
        read = read.index_add(0, place.flatten(), drawn.flatten(0, 1).long()).bool()
        table = self.modality_embeddings(distinct, read)[place]  # (B, 1 + N, M, d)
        fused = (table * drawn[..., None]).sum(-2) / n_drawn.clamp(min=1)[..., None]
        scores = torch.einsum("bd,bsd->bs", users, fused)
        terms = [-F.logsigmoid(scores[:, :1] - scores[:, 1:]).mean()]
        if self.options.variant == "SC":
            first, second = (
                table.gather(2, order[..., nth, None, None].expand(*sets.shape, 1, table.shape[-1])).squeeze(2)
                for nth in (0, 1)
            )
            terms.append(self.options.contrastive_weight * self.info_nce(first, second, n_drawn == 2))
        return terms

    def info_nce(self, first, second, paired):
        losses = []
        for one, two, has in zip(first, second, paired):
            if has.any():
                logits = one[has] @ two[has].T / self.options.temperature
                every = torch.arange(len(logits))
                losses.append(
                    F.cross_entropy(logits, every, reduction="none")
                    + F.cross_entropy(logits.T, every, reduction="none")
                )
        return torch.cat(losses).mean()


@pytest.mark.parametrize("variant", ["base", "S", "SC"])
@every_model
def test_the_paper_preset_computes_the_papers_equations(model_class, variant):
    model = build(model_class, "paper", variant=variant, contrastive_weight=0.3)
    equations = Equations(model, model.options)
    generator = torch.Generator().manual_seed(4)
    items = torch.randint(1, 20, (12, 11), generator=generator)
    batch = PairBatch(torch.arange(1, 13), items[:, 0], items[:, 1:])
    parameters = list(model.parameters())
    for step in range(2):
        torch.manual_seed(7)
        found = model.loss(batch)
        torch.manual_seed(7)
        wanted = equations.loss(batch, torch.Generator().manual_seed(3 * 1_000_003 + step))
        assert len(found) == len(wanted)
        for mine, theirs in zip(found, wanted):
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
        gradients = [
            torch.autograd.grad(sum(terms), parameters, allow_unused=True, retain_graph=True)
            for terms in (found, wanted)
        ]
        # a bias in front of a batch normalisation has a gradient of zero but for rounding, on the scale of the others
        scale = max(float(gradient.abs().max()) for gradient in gradients[1] if gradient is not None)
        for (name, _), mine, theirs in zip(model.named_parameters(), *gradients):
            zero = torch.zeros(())
            torch.testing.assert_close(
                zero if mine is None else mine,
                zero if theirs is None else theirs,
                atol=1e-5 * scale,
                rtol=1e-4,
                msg=lambda text, name=name: f"{name}: {text}",
            )


OURS = object()
"""Of the widths and the batch the preset says itself what the authors have."""
AUTHORS = {
    "embedding_size": OURS,
    "projection_size": OURS,
    "projection_hidden_sizes": [],
    "encoder_hidden_sizes": OURS,
    "activation": "relu",
    "activate_projections": "dense",
    "activate_input": False,
    "activate_output": False,  # an option of theirs, on in the larger networks
    "batch_norm": True,
    "normalize_input": True,
    "input_dropout": 0.02,
    "vector_scaling": "raw",
    "number_encoding": OURS,
    "tag_weighting": "mean",
    "interaction_scaling": "raw",
    "interaction_dropout": 0.0,
    "plain_side": "interactions",
    "plain_activation": "selu",
    "fusion": "mean",
    "joint_modality": False,
    "ensemble_size": 1,
    "content_prior": 0.0,
    "interaction_prior": 0.0,
    "interaction_ridge": 0.0,
    "rec_loss": "bpr",
    "softmax_targets": "all",
    "softmax_negatives": 0,
    "modality_sampling": "fixed",
    "n_sampled_modalities": None,  # 1 without, 2 with the contrastive loss
    "modality_draw": "occurrence",
    "contrastive_weight": (1e-6, 1e-3),
    "temperature": (1e-3, 0.5),
    "contrastive_similarity": "inner",
    "contrastive_set": "negatives",
    "contrastive_batch_size": OURS,
    "learner": "adamw",
    "learning_rate": OURS,
    "weight_decay": (1e-6, 1e-2),
    "epochs": 50,
    "stopping_step": 5,
    "train_batch_size": OURS,
    "train_neg_sample_args": {"distribution": "uniform", "sample_num": 10},
}
"""A value, or the range that the authors search."""


def test_the_paper_preset_has_the_authors_values():
    paper = PRESETS["paper"]
    for name, wanted in AUTHORS.items():
        if isinstance(wanted, tuple):
            assert wanted[0] <= paper[name] <= wanted[1], name
        elif wanted is not OURS:
            assert paper[name] == wanted and type(paper[name]) is type(wanted), name
    lowest, highest = 1e-5, 1e-2  # learning rates that the authors search
    assert lowest <= RATE <= RATE * (POSITIVES.most / POSITIVES.usual) ** 0.5 <= highest
    assert [ModelOptions.from_mapping({**paper, "variant": name}).n_sampled for name in ("S", "SC")] == [1, 2]
    assert len(paper["encoder_hidden_sizes"]) >= 1


@every_preset
def test_a_preset_says_what_is_not_the_default_and_how_to_train(preset):
    own = FILES[preset]
    assert [name for name in own if name in DEFAULTS and own[name] == DEFAULTS[name]] == []
    assert set(own) - set(DEFAULTS) - set(SCENARIOS) == set(FILES["paper"])
    assert not {"variant", "single_branch"} & set(own)  # chosen beside it
    elsewhere = {**DEFAULTS, **own}
    of_scenarios = [item for scenario in set(own) & set(SCENARIOS) for item in own[scenario].items()]
    assert [name for name, value in of_scenarios if elsewhere[name] == value] == []


@every_preset
def test_neither_preset_has_a_prior_and_sibrar_has_fewer_parameters(preset):
    sibrar, mubrar = (build(model_class, preset) for model_class in (SiBraR, MuBraR))
    assert not any(network.priors for model in (sibrar, mubrar) for network in model.ensemble.networks)
    assert sibrar.n_parameters < mubrar.n_parameters


@pytest.mark.parametrize(
    "options, n, size",
    [
        ({"preset": "strong"}, "users", 3),
        ({"preset": "strong", "rec_loss": "bpr"}, "positives", None),
        ({"preset": "strong", "rec_loss": "bpr", "train_batch_size": 300}, "positives", 300),
        ({"preset": "strong", "train_batch_size": 300}, "users", 300),
        ({}, "positives", None),
        (SOFTMAX, "users", 3),
    ],
)
def test_a_batch_is_as_large_as_the_data_and_the_loss_allow(tiny, options, n, size):
    ready = prepare(make_config("SiBraR", "tiny", None, tiny.options(**options)))
    loader = ready.loaders[0]
    assert (n == "users") == isinstance(loader, UserLoader)
    assert loader.step == (size or -(-len(loader._dataset) // 15)) and (size == 300 or len(loader) >= 14)


FEW = replace(USERS, most=USERS.usual)
"""Batches that are never larger than usual."""


@pytest.mark.parametrize(
    "sizes, n, size",
    [
        (FEW, 1, 1),
        (FEW, 15, 1),
        (FEW, 943, 63),
        (FEW, 5633, 245),
        (FEW, 10**6, 256),
        (USERS, 6040, 252),
        (USERS, 10_240, 256),
        (USERS, 10_241, 257),
        (USERS, 39_020, 976),
        (USERS, 10**6, 1024),
        (POSITIVES, 204_800, 1024),
        (POSITIVES, 802_267, 4012),
        (POSITIVES, 10**7, 4096),
    ],
)
def test_an_epoch_has_at_least_fifteen_steps_of_usual_size_and_of_large_data_larger_ones(sizes, n, size):
    assert sizes.of(n) == size


@pytest.mark.parametrize(
    "options, rate",
    [
        ({}, RATE),
        ({"train_batch_size": 4096}, 2 * RATE),
        ({"train_batch_size": 256}, RATE),
        ({"train_batch_size": 4096, "learning_rate": 0.5}, 0.5),
        ({"preset": "strong"}, 0.003),
    ],
)
def test_the_learning_rate_is_what_is_given_or_goes_with_the_root_of_the_batch(tiny, options, rate):
    ready = prepare(make_config("SiBraR", "tiny", None, tiny.options(epochs=1, **options)))
    ready.trainer.fit(*ready.loaders[:2], verbose=False)
    assert {group["lr"] for group in ready.trainer.optimizer.param_groups} == {rate}


# names


@pytest.mark.parametrize(
    "model, options, label",
    [
        ("SiBraR", {}, "SiBraR_SC-paper"),
        ("SiBraR", {"preset": "strong", "variant": "base"}, "SiBraR-strong"),
        ("SiBraR", {"preset": "strong", "variant": "S", "content_prior": 1.0}, "SiBraR_S-strong+KernelRidge"),
        ("MuBraR", {"variant": "base", "interaction_prior": 2}, "MuBraR-paper+LinearAutoencoder"),
        ("MuBraR", {"content_prior": 1, "interaction_prior": 1}, "MuBraR_SC-paper+KernelRidge+LinearAutoencoder"),
        ("ContentRidge", {}, "ContentRidge"),
        ("KernelRidge", {}, "KernelRidge"),
        ("LinearAutoencoder", {}, "LinearAutoencoder"),
        ("BPR", {}, "BPR"),
    ],
)
def test_labels_carry_variant_preset_and_priors(model, options, label):
    config = make_config(model, "ml-100k", None, options)
    assert model_label(config) == label
    assert run_name(config).startswith(f"{label}-ml-100k-warm-seed2020")


@every_preset
@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("model", ["SiBraR", "MuBraR"])
def test_a_preset_is_what_the_run_has_and_options_win(model, scenario, preset):
    config = make_config(model, "ml-100k", None, {"preset": preset, "scenario": scenario, "embedding_size": 24})
    of_preset = {name: value for name, value in PRESETS[preset].items() if name not in SCENARIOS}
    of_scenario = {**PRESETS[preset].get(scenario, {}), **SCENARIOS[scenario].options}
    wanted = {**of_preset, **of_scenario, "embedding_size": 24}
    found = {name: config[name] for name in wanted if name not in ("train_neg_sample_args", "content_side")}
    assert found == {name: wanted[name] for name in found}


def test_a_file_says_what_holds_in_one_scenario_and_options_win(tiny):
    yaml = tiny.folder / "tiny" / "tiny.yaml"
    yaml.write_text(yaml.read_text() + "epochs: 7\nitem_cold: {epochs: 5, item_modalities: genres}\n")
    for options, wanted in [
        ({"scenario": "warm"}, (7, None)),
        ({"scenario": "item_cold"}, (5, ["genres"])),
        ({"scenario": "item_cold", "epochs": 3}, (3, ["genres"])),
    ]:
        config = make_config("SiBraR", "tiny", None, {"data_path": tiny.options()["data_path"], **options})
        assert (config["epochs"], config["item_modalities"]) == wanted


def test_a_data_set_may_be_called_as_a_model_or_a_preset(tiny, monkeypatch):
    for name in ("SiBraR", "paper", "protocol"):
        monkeypatch.setattr(tiny, "name", name)
        tiny.write()
        assert make_config("SiBraR", name, None, tiny.options())["preset"] == "paper"


def test_what_holds_in_one_scenario_is_a_mapping_of_known_options(tiny):
    yaml = tiny.folder / "tiny" / "tiny.yaml"
    own = yaml.read_text()
    for part, message in [("0.8", "tiny.yaml | item_cold is 0.8"), ("{epoch: 3}", "tiny.yaml | 'epoch' | 'epochs'")]:
        yaml.write_text(f"{own}item_cold: {part}\n")
        with pytest.raises(OptionError, match=naming(message)):
            make_config("BPR", "tiny", None, {**tiny.options(), "scenario": "item_cold"})


@pytest.mark.parametrize(
    "line, message",
    [
        ("val_intervall: {rating: '[3,inf)'}", "tiny.yaml | 'val_intervall' | 'val_interval'"),
        ("preset: strong", "tiny.yaml | preset"),
        ("scenario: warm", "tiny.yaml | scenario"),
        ("run_name: mine", "tiny.yaml | run_name"),
        ("warm: {seed: 5}", "tiny.yaml | seed"),
        ("item_cold: {epoch: 3}", "tiny.yaml | 'epoch' | 'epochs'"),
        ("item_cold: {preset: strong}", "tiny.yaml | preset"),
    ],
)
def test_a_data_sets_file_has_options_of_any_model_and_chooses_none(tiny, line, message):
    yaml = tiny.folder / "tiny" / "tiny.yaml"
    own = yaml.read_text()
    yaml.write_text(f"{own}variant: S\nimpute: knn\nembedding_size: 24\n")
    options = {"data_path": str(tiny.folder), "scenario": "warm"}
    found = {model: make_config(model, "tiny", None, options) for model in ("BPR", "SiBraR", "KernelRidge")}
    assert {model_label(config) for config in found.values()} == {"BPR", "SiBraR_S-paper+knn", "KernelRidge+knn"}
    assert [found[model]["embedding_size"] for model in ("BPR", "SiBraR")] == [24, 24]
    yaml.write_text(f"{own}{line}\n")
    with pytest.raises(OptionError, match=naming(message)):
        make_config("BPR", "tiny", None, {**tiny.options(), "scenario": "warm"})


@pytest.mark.parametrize(
    "model, preset, message",
    [
        ("SiBraR", "stron", "preset | 'stron' | 'strong'"),
        ("MuBraR", "../paper", "preset is '../paper'"),
        ("BPR", "strong", "preset | 'strong' | BPR | no presets"),
        ("KernelRidge", "paper", "preset | 'paper' | KernelRidge | no presets"),
    ],
)
def test_a_preset_that_is_none_is_refused(model, preset, message):
    with pytest.raises(OptionError, match=naming(message)):
        make_config(model, "ml-100k", None, {"preset": preset})


@pytest.mark.parametrize(
    "given, spec",
    [
        ("SiBraR:SC:strong", ModelSpec("SiBraR", "SC", "strong")),
        ("SiBraR::strong", ModelSpec("SiBraR", None, "strong")),
        ("SiBraR:SC", ModelSpec("SiBraR", "SC")),
        ({"model": "SiBraR", "preset": "strong"}, ModelSpec("SiBraR", None, "strong")),
    ],
)
def test_a_model_of_a_comparison_has_a_preset(given, spec):
    assert ModelSpec.parse(given) == spec
    assert given == str(spec) or not isinstance(given, str)


def test_a_model_of_a_comparison_has_three_parts_at_most():
    with pytest.raises(OptionError, match="expected MODEL:VARIANT:PRESET"):
        ModelSpec.parse("SiBraR:SC:strong:2")


def test_a_comparison_tells_presets_apart(tiny):
    models = ["SiBraR:SC", "SiBraR:SC:strong", "MuBraR::strong", "Pop"]
    plan = Plan.from_mapping({"models": models, "datasets": "tiny", "scenarios": "warm", "data_path": str(tiny.folder)})
    runs = plan_runs(plan)
    assert [run.label for run in runs] == ["SiBraR_SC-paper", "SiBraR_SC-strong", "MuBraR_SC-strong", "Pop"]
    assert [run.name for run in runs] == [f"{run.label}-tiny-warm-seed2020" for run in runs]
    assert [run.config["rec_loss"] for run in runs[:3]] == ["bpr", "softmax", "softmax"]


def test_help_lists_preset_and_options(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    text = capsys.readouterr().out
    assert "--preset" in text
    assert all(f"--{name}=" in text for name in set(vars(ModelOptions())) - {"variant"})


@pytest.mark.parametrize("version", [1, 2])
def test_checkpoints_of_earlier_versions_are_refused(version):
    torch.save({"format": f"recbole-sibrar checkpoint {version}", "config": {"model": "SiBraR"}}, "model.pth")
    with pytest.raises(CheckpointError, match="model.pth was written by an earlier version.*train again"):
        checkpoint.load("model.pth")
