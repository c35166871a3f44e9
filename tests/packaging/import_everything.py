"""Imports every module of the installed package. Run by scripts/test-wheel, where nothing but the wheel can be found."""

import importlib
import pkgutil
from pathlib import Path

import airflow_provider_360dialog

assert "site-packages" in Path(airflow_provider_360dialog.__file__).parts, airflow_provider_360dialog.__file__
WORKERS = "airflow_provider_360dialog.media.preparation."
NEED_PILLOW = {f"{WORKERS}redraw", f"{WORKERS}pixels"}  # only worker processes import them, where the extra [media] is installed
names = [module.name for module in pkgutil.walk_packages(airflow_provider_360dialog.__path__, "airflow_provider_360dialog.")]
for name in names:
    if name in NEED_PILLOW:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            assert error.name == "PIL", error  # noqa: PT017 - this is no test
    elif not name.endswith("__main__"):
        importlib.import_module(name)
assert set(names) >= NEED_PILLOW
assert len(names) > 10, names
print(f"ok      import of {len(names)} modules")  # noqa: T201
