"""Loads the plugin for the tests and the benchmarks of this repository."""

pytest_plugins = ["cnnprec.pytest_plugin", "pytester"]
