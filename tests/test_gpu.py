"""On a GPU everything is as on a processor but for rounding; skipped where torch finds none.

All other tests run on the GPU, too, where there is one: ``OMP_NUM_THREADS=1 pytest``.
"""

from dataclasses import replace

import pytest
import torch
from conftest import SOFTMAX
from test_distributed import CALM, NO_DRAWS, STEPS, gradients
from test_models import every_model, every_setting, step
from torch.profiler import ProfilerActivity, profile

from recbole_sibrar.cli import main
from recbole_sibrar.models.core import InnerProductModel
from recbole_sibrar.recbole_plugin import distributed
from recbole_sibrar.recbole_plugin.distributed.training import SharedLoss
from recbole_sibrar.recbole_plugin.prepared import make_config, prepare
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.serving.recommender import Recommender

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")

DEVICES = {"cpu": {"use_gpu": False}, "gpu": {"use_gpu": True, "gpu_id": "0"}}


@pytest.fixture
def same_draws(monkeypatch):
    """What a step draws comes from the processor on both devices; it comes from where the model is otherwise."""

    def next_step(self):
        generator = torch.Generator().manual_seed(int(self.step))
        self.step += 1
        return generator

    monkeypatch.setattr(InnerProductModel, "_next_step", next_step)


@every_setting
@every_model
def test_a_step_of_any_setting(same_draws, model_class, setting):
    setting = {**setting, **NO_DRAWS, "temperature": 5.0}
    loss, gradient = step(model_class, setting)
    mixed, of_mixed = step(model_class, setting, "cuda", is_mixed=True)
    assert step(model_class, setting, "cuda") == pytest.approx((loss, gradient), rel=1e-3)
    assert mixed == pytest.approx(loss, rel=0.01) and of_mixed == pytest.approx(gradient, rel=0.3)


def test_a_step_has_the_same_gradients(tiny, same_draws):
    cpu, gpu = (gradients(tiny.options(**device)) for device in DEVICES.values())
    for name in STEPS:
        assert gpu[name][0] == pytest.approx(cpu[name][0], rel=1e-4), name
        for kind in (1, 2):
            for key, value in cpu[name][kind].items():
                found = gpu[name][kind][key]
                assert found.device.type == "cuda"
                assert torch.allclose(found.cpu(), value, rtol=1e-3, atol=1e-5), (name, key)


RUNS = {
    "paper": ("SiBraR", {"temperature": 10.0, **CALM}),
    "strong": ("SiBraR", {"preset": "strong", **CALM}),
    "many branches": ("MuBraR", {"scenario": "user_cold", "single_branch": "both", **CALM}),
    "fewer negatives": ("SiBraR", {**SOFTMAX, "softmax_negatives": 7, "scenario": "item_cold", **CALM}),
    "priors": ("SiBraR", {"preset": "strong", "content_prior": 1.0, "interaction_prior": 1.0, **CALM}),
    "imputed": ("SiBraR", {"preset": "strong", "impute": "knn", "scenario": "item_cold", **CALM}),
    "from disk": ("SiBraR", {"preset": "strong", "vector_storage": "disk", "scenario": "item_cold", **CALM}),
    **{name: (name, {"scenario": "item_cold"}) for name in ("ContentRidge", "KernelRidge", "CLCRec", "DropoutNet")},
    **{name: (name, {}) for name in ("LinearAutoencoder", "BPR", "LightGCN", "EASE", "ItemKNN")},
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_has_the_same_result(tiny, same_draws, name):
    model, options = RUNS[name]
    cpu, gpu = (
        run(model, "tiny", None, tiny.options(**options, **device, run_name=where)) for where, device in DEVICES.items()
    )
    assert [e["loss"] for e in gpu.history] == pytest.approx([e["loss"] for e in cpu.history], rel=1e-3)
    assert [e["valid"] for e in gpu.history] == pytest.approx([e["valid"] for e in cpu.history], abs=1e-3)
    assert gpu.test_result == pytest.approx(cpu.test_result, abs=1e-3)
    paths = [f"results/{where}/model.pth" for where in DEVICES]
    scores = [Recommender.load(path).recommend(["u1", "u2"], k=5)["score"] for path in paths]
    assert scores[1].tolist() == pytest.approx(scores[0].tolist(), rel=1e-2, abs=1e-3)


def test_every_command_takes_what_was_trained_there(tiny):
    settings = tiny.options(scenario="item_cold", preset="strong", run_name="r", **DEVICES["gpu"])
    run("SiBraR", "tiny", None, settings)
    again = ["results/r", f"--data_path={tiny.folder}"]
    assert main(["missing", *again, "--where", "evaluation", "both", "--rates", "0", "0.5"]) == 0
    assert main(["missing", *again]) == main(["gap", *again]) == 0
    assert main(["recommend", "--checkpoint", "results/r/model.pth", "--users", "u1"]) == 0
    resumed = run("SiBraR", "tiny", None, {**settings, "epochs": 3, "resume": True})
    assert resumed.n_epochs == 3


@pytest.mark.parametrize("options", [{"preset": "strong"}, {}, {"contrastive_set": "batch"}], ids=str)
def test_mixed_precision(tiny, options):
    plain, mixed = (
        run(
            "SiBraR", "tiny", None, tiny.options(enable_amp=amp, **options, **CALM, **DEVICES["gpu"], run_name=str(amp))
        )
        for amp in (False, True)
    )
    assert mixed.history[-1]["loss"] == pytest.approx(plain.history[-1]["loss"], rel=0.02)


@pytest.mark.parametrize("options", [{"preset": "strong"}, {}], ids=["strong", "paper"])
def test_a_step_sends_nothing_to_the_gpu(tiny, options):
    ready = prepare(make_config("SiBraR", "tiny", None, tiny.options(**options, **DEVICES["gpu"])))
    batch = next(iter(ready.loaders[0])).to("cuda")
    ready.model.train()
    ready.model.calculate_loss(batch)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        sum(ready.model.calculate_loss(batch)).backward()
        torch.cuda.synchronize()
    assert [event.name for event in seen.events() if "Memcpy HtoD" in event.name] == []


def step_of_a_process(settings):
    """Loss and gradients of a step of ``DistributedDataParallel``, and of one without."""
    found = []
    for is_shared in (True, False):
        ready = prepare(make_config("SiBraR", "tiny", None, settings))
        loss = torch.nn.parallel.DistributedDataParallel(SharedLoss(ready.model)) if is_shared else None
        terms = (loss or ready.model.calculate_loss)(next(iter(ready.loaders[0])).to("cuda"))
        sum(terms).backward()
        found.append([sum(terms).item(), *(p.grad.norm().item() for p in ready.model.parameters())])
    return found


@pytest.mark.parametrize("options", [{"preset": "strong"}, {}], ids=["strong", "paper"])
def test_nccl(tiny, options):
    """A card takes one of NCCL's processes: the exchange with itself."""
    alone = replace(distributed.World.of({}), port=0)
    settings = tiny.options(**options, **CALM, **DEVICES["gpu"])
    shared, plain = distributed.launch(alone, step_of_a_process, (settings,), "nccl")
    assert shared == pytest.approx(plain, rel=1e-3, abs=1e-5)
