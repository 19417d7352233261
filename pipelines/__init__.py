"""The flows, one module a step: pull, observe, correlate, seal, dispatch.

Each runs without Airflow.
"""

from importlib.metadata import version

VERSION = version("sightline")
