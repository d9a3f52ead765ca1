"""The pytest plugin: options, benchmarks, saving, choosing a baseline, verdicts.

Load it with ``pytest_plugins = ["cnnprec.pytest_plugin"]`` in a top-level ``conftest.py`` or with
``pytest -p cnnprec.pytest_plugin``. It does not load itself, because options as general as
``--profile`` would collide with other plugins in environments that only happen to have this
package.
"""

pytest_plugins = [
    "cnnprec.pytest_plugin.options",
    "cnnprec.pytest_plugin.every_gpu",
    "cnnprec.pytest_plugin.benchmarks",
    "cnnprec.pytest_plugin.verdicts",
    "cnnprec.pytest_plugin.ending",
    "cnnprec.pytest_plugin.saving",
    "cnnprec.pytest_plugin.unfinished",
]
