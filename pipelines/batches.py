"""A step for every capture of a batch: one that fails holds up no other.

A batch is the captures of one feed in the order of time.
"""

from collections.abc import Callable, Sequence

from enforcement.errors import SightlineError, StepsFailed
from pipelines.correlate import correlate
from pipelines.observe import observe
from pipelines.seal import seal_capture


def observe_all(batch: Sequence[str]) -> list[str]:
    """Let the detectors look at each; returns the capture ids. Raises StepsFailed."""
    return _each(batch, lambda capture_id: [observe(capture_id)])


def correlate_all(batch: Sequence[str]) -> list[str]:
    """Raise leads for each; returns the lead ids. Raises StepsFailed."""
    return _each(batch, correlate)


def seal_all(batch: Sequence[str]) -> list[str]:
    """Seal the leads of each; returns the lead ids. Raises StepsFailed."""
    return _each(batch, seal_capture)


def _each(batch: Sequence[str], step: Callable[[str], list[str]]) -> list[str]:
    done: list[str] = []
    failed: list[str] = []
    for capture_id in batch:
        try:
            done += step(capture_id)
        except SightlineError as error:
            failed.append(f"{capture_id}: {error}")
    if failed:
        raise StepsFailed(f"{len(failed)} of {len(batch)} captures: " + "; ".join(failed))
    return done
