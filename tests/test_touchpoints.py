"""The contract with RecBole 1.2.1: a changed source of anything that we rely on or replace fails here."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import recbole
from conftest import naming

from recbole_sibrar.errors import SibrarError
from recbole_sibrar.recbole_plugin import patches
from recbole_sibrar.recbole_plugin.patches.replaced import fingerprint


@pytest.mark.parametrize("touch_point", patches.TOUCH_POINTS)
def test_recbole_is_as_we_know_it(touch_point):
    expected, reason = patches.TOUCH_POINTS[touch_point]
    assert fingerprint(touch_point) == expected, f"{touch_point} changed; we rely on it: {reason}"


def test_another_version_is_refused(monkeypatch):
    monkeypatch.setattr(recbole, "__version__", "1.3.0")
    with pytest.raises(SibrarError, match=naming("1.3.0 | recbole_sibrar | 1.2.1")):
        patches._check_version()


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_our_own_path_imports_no_ray():
    code = "import sys, recbole_sibrar.recbole_plugin.run; print('ray' in sys.modules)"
    assert run_python(code)[-1] == "False"


def test_everything_is_registered():
    code = """
import recbole_sibrar
from recbole.utils import get_model, get_trainer, ModelType
import recbole.data.dataset
from recbole.evaluator.register import metrics_dict
print(get_model('SiBraR').__name__, get_trainer(ModelType.GENERAL, 'MuBraR').__mro__[1].__name__,
      recbole.data.dataset.SiBraRDataset.__name__, all(n in metrics_dict for n in ('fscore', 'arp', 'aplt', 'pl')))
"""
    assert run_python(code) == ["SiBraR", "ProtocolTrainer", "ScenarioDataset", "True"]


@pytest.mark.parametrize("order", ["import recbole, recbole_sibrar", "import recbole_sibrar, recbole"])
def test_recbole_knows_our_models_whichever_is_imported_first(order):
    assert run_python(f"{order}; from recbole.utils import get_model; print(get_model('MuBraR'))")[-1].endswith(
        "MuBraR'>"
    )


def test_another_version_is_refused_each_time_that_it_is_imported():
    """Once, and the second import would have had a RecBole that knows nothing of us."""
    Path("recbole").mkdir()
    Path("recbole/__init__.py").write_text("__version__ = '1.3.0'")
    code = """
import recbole_sibrar.serving
for _ in range(2):
    try:
        import recbole
    except recbole_sibrar.errors.SibrarError as error:
        print(str(error).split(',')[0])
"""
    assert run_python(code) == ["RecBole", "1.3.0", "is", "installed"] * 2


no_ray = pytest.mark.skipif(find_spec("ray") is None, reason="recbole.quick_start alone needs ray, which is absent")


@pytest.mark.parametrize(
    "order",
    [
        pytest.param("import recbole.quick_start, recbole_sibrar", marks=no_ray),
        "import recbole_sibrar, recbole.quick_start",
    ],
)
def test_quick_start_is_mended_whenever_it_is_imported(order):
    names = "(q.load_data_and_model, q.objective_function)"
    code = f"{order}; import recbole.quick_start as q; print(*(f.__module__ for f in {names}))"
    assert run_python(code)[-2:] == ["recbole_sibrar.recbole_plugin.quick_start"] * 2
