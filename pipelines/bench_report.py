"""A benchmark as tables for people."""

from rich.table import Table

from pipelines.bench import Compared, Loop


def table(compared: Compared) -> Table:
    """One piece of footage: three ways of watching, ratios, stages, events."""
    busy = "" if compared.truth is None else f", in view {compared.truth.occupied_share:.0%}"
    title = f"{compared.name} ({compared.cascade.seconds:.0f} s{busy})"
    shown = Table(title=title, title_justify="left")
    for column in ("", "seconds seen", "CPU s per camera s", "wall s", "memory MiB", "events"):
        shown.add_column(column, justify="left" if not column else "right")
    events = len(compared.events)
    shown.add_row("naive", *_cells(compared.naive), "-")
    for name, loop, alarms in (
        ("exhaustive", compared.exhaustive, compared.reference),
        ("cascade", compared.cascade, compared.found),
    ):
        counted = f"{compared.events_found(alarms)}/{events}" if events else str(len(alarms))
        shown.add_row(name, *_cells(loop), counted)
    stages = ", ".join(
        f"{stage} {cpu_s / compared.cascade.seconds * 1000:.2f}"
        for stage, cpu_s in sorted(compared.stages.items(), key=lambda item: -item[1])
    )
    shown.caption_justify = "left"
    shown.caption = (
        f"{compared.ratio:.1f} times cheaper than the naive loop; "
        f"{compared.cameras_per_core:.0f} such cameras a core; "
        f"decoded in full: {compared.decoded_s / compared.cascade.seconds:.1%}\n"
        f"stages, ms a camera second: {stages}\n"
        f"missed by the cascade: {len(compared.missed)}, found by it alone: {len(compared.extra)}"
    )
    return shown


def _cells(loop: Loop) -> tuple[str, str, str, str]:
    wall = "-" if loop.wall_s is None else f"{loop.wall_s:.1f}"
    return (
        f"{loop.seconds:.0f}", f"{loop.cpu_s_per_camera_s:.4f}", wall,
        f"{loop.peak_memory_mib:.0f}",
    )  # fmt: skip
