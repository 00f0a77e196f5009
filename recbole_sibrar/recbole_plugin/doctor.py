"""What ``recbole-sibrar doctor`` says: versions, whether RecBole is as expected, where data is looked for."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tabulate import tabulate

from recbole_sibrar.properties import props_folder, read_property_file
from recbole_sibrar.recbole_plugin.touchpoints import TOUCH_POINTS, fingerprint

PACKAGES = (
    "recbole-sibrar",
    "recbole",
    "torch",
    "numpy",
    "pandas",
    "scipy",
    "setuptools",
    "ray",
    "pyarrow",
    "hyperopt",
)


def report() -> tuple:
    """The text, and whether everything is as it should be."""
    changed, unreadable = [], []
    for touch_point, (expected, _) in TOUCH_POINTS.items():
        try:
            if fingerprint(touch_point) != expected:
                changed.append(touch_point)
        except ImportError as error:
            unreadable.append(f"{touch_point}: {error}")
    packages = [("python", platform.python_version()), *((name, _version(name)) for name in PACKAGES)]
    data_path = Path(read_property_file(props_folder() / "protocol.yaml")["data_path"]).resolve()
    sets = sorted(path.name for path in data_path.glob("*") if (path / f"{path.name}.inter").is_file())
    n_expected = len(TOUCH_POINTS) - len(changed) - len(unreadable)
    lines = [
        tabulate(packages, headers=("package", "version")),
        "",
        f"RecBole: {n_expected} of {len(TOUCH_POINTS)} touch points as expected",
        *(f"  changed: {name}" for name in changed),
        *(f"  cannot be imported: {line}" for line in unreadable),
        f"property files: {props_folder()}",
        f"data sets are looked for in {data_path} (--data_path): {', '.join(sets) or 'none'}; and ml-100k in RecBole",
    ]
    return "\n".join(lines), not changed


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
