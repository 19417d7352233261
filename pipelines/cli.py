"""The ``sightline`` command. Each verb runs without Airflow; ``sightline up`` starts everything."""

import json
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from enforcement.cases import CaseState
from enforcement.errors import ConfigurationError, SightlineError
from enforcement.people import Account, Role
from pipelines import flights_cli
from settings.environment import Settings
from storage.records.database import Database

if TYPE_CHECKING:
    from pipelines.ingest import Ingested

app = typer.Typer(
    name="sightline",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Non-site enforcement: feeds in, evidence-backed cases out, once people have confirmed"
    " them.\n\nStart with `sightline up --demo`, or look at one file with `sightline ingest FILE`.",
)
queue_app = typer.Typer(no_args_is_help=True, help="Look at the review queue.")
models_app = typer.Typer(no_args_is_help=True, help="Fetch and list the detection models.")
demo_app = typer.Typer(no_args_is_help=True, help="Rendered demo footage with exact truth.")
catalog_app = typer.Typer(no_args_is_help=True, help="Check and preview what is watched.")
accounts_app = typer.Typer(no_args_is_help=True, help="Who may sign in to the review application.")
evidence_app = typer.Typer(no_args_is_help=True, help="Check stored evidence.")
for name, group in (
    ("queue", queue_app),
    ("models", models_app),
    ("demo", demo_app),
    ("catalog", catalog_app),
    ("accounts", accounts_app),
    ("evidence", evidence_app),
    ("flights", flights_cli.app),
):
    app.add_typer(group, name=name)

err = Console(stderr=True)
out = Console() if sys.stdout.isatty() else Console(width=160)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def main() -> None:
    """Run the command; what goes wrong on purpose becomes one clear line and exit code 1."""
    try:
        app()
    except SightlineError as error:
        err.print(f"[bold red]sightline:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(1)


@app.command()
def init() -> None:
    """Make the home folder ready: catalog, database schema, buckets. Safe to run again."""
    from pipelines.wiring import prepare, store_running, wire

    with store_running(wire()):
        prepare(wire())
    typer.echo(f"ready: {wire().settings.home}")


@app.command()
def up(
    demo: Annotated[
        bool,
        typer.Option(
            "--demo",
            help="Add rendered cameras, a patrol drone, a noise meter, accounts and a receiver.",
        ),
    ] = False,
) -> None:
    """Start the whole system on this machine; Ctrl-C stops it.

    Prints a line that begins with READY when everything answers. All state lies under
    SIGHTLINE_HOME; ports are SIGHTLINE_REVIEW_PORT, SIGHTLINE_AIRFLOW_PORT, SIGHTLINE_S3_PORT and
    SIGHTLINE_RECEIVER_PORT. A start after a crash goes on where it ended.
    """
    from pipelines import demo as demo_system
    from pipelines.supervise import run
    from pipelines.wiring import Wiring, prepare

    wiring = Wiring(Settings.load())

    def make_ready() -> list[str]:
        prepare(wiring)
        return demo_system.accounts(wiring) if demo else []

    if demo:
        demo_system.write_catalog(wiring.settings)
    peers = demo_system.peers() if demo else []
    raise typer.Exit(run(wiring.settings, echo=typer.echo, prepare=make_ready, peers=peers))


@app.command()
def collect() -> None:
    """Take in all live feeds, cameras and messages, until told to stop.

    `sightline up` does this by itself. One process serves all feeds of a home; a feed that is
    added, changed or switched off in the catalog is followed within a second. Passwords come from
    the environment, or from files: for GATE_PASSWORD, GATE_PASSWORD_FILE names one.
    """
    from pipelines.collect import run

    run()


@app.command()
def ingest(
    files: Annotated[list[Path], typer.Argument(help="Video files.")],
    feed: Annotated[str, typer.Option(help="Feed of the catalog whose zones apply.")] = "inbox",
    as_json: AsJson = False,
) -> None:
    """Take video files through the whole way: file, observe, correlate, seal.

    The feed `inbox` has the whole frame as a no-dumping zone. Running it again changes nothing.
    """
    from pipelines import ingest as steps
    from pipelines.wiring import prepare, store_running, wire

    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        raise ConfigurationError(f"there is no file {', '.join(missing)}")
    wiring = wire()
    with store_running(wiring), Progress(console=err, transient=True) as progress:
        prepare(wiring)
        results = []
        for path in files:
            task = progress.add_task(path.name, total=1.0)

            def report(model: str, share: float, task: int = task, name: str = path.name) -> None:
                progress.update(task, completed=share, description=f"{name} · {model}")  # type: ignore[arg-type]

            results.append(steps.ingest_file(wiring, path, feed, report))
    if as_json:
        typer.echo(json.dumps({"captures": [r.as_json() for r in results]}, indent=1))
        return
    for result in results:
        typer.echo(_ingest_line(result))


def _ingest_line(result: "Ingested") -> str:
    if result.quarantined:
        return f"{result.file}: set aside, {result.quarantined}"
    found = ", ".join(f"{lead.rule_id} at {lead.alarm_at_s:.1f} s" for lead in result.leads)
    return f"{result.file}: {found or 'no leads'}"


@app.command()
def evaluate(
    source: Annotated[Path, typer.Argument(help="Index (JSON), folder of clips, or one clip.")],
    clip: Annotated[
        list[str] | None, typer.Option(help="Only this clip, by file name; may be repeated.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="HTML file to write, with pictures of every error.")
    ] = None,
    exhaustive: Annotated[
        bool, typer.Option(help="Look at all of every frame: dear, and what the cascade may miss.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Clips to watch at once.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Measure how well the shipped rules and detectors do on footage, and what that costs.

    An index is a JSON list of `{"file", "sha256", "expect"}`; `expect` says what is true in the
    clip, and each family of events is scored by the clip's first alarm: right from 5 s before the
    onset to 10 s after it. A plain folder has no truth: then it lists what was found, CPU and
    memory. The whole frame is a no-dumping zone; closed and no-stopping zones come from the
    index. Needs the models (`sightline models pull`), but no database, no store and no catalog.

    `sightline evaluate my-clips/ --report found.html` shows every alarm as pictures with the
    reasons for it. A clip that cannot be read is listed as not watched and ends nothing.
    """
    from pipelines.evaluate import evaluate as run_over
    from pipelines.evaluation_report import summary, tables, write_report

    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("starting", total=1.0)

        def show(done: int, total: int, name: str, share: float) -> None:
            text = f"{done + 1}/{total} {Path(name).name}"
            progress.update(task, total=total, completed=done + share, description=text)

        evaluation = run_over(source, clip or (), show, exhaustive=exhaustive, jobs=jobs)
        if report is not None:
            progress.update(task, description="drawing the report")
            write_report(evaluation, report, datetime.now(UTC))
    if as_json:
        typer.echo(json.dumps(evaluation.as_json(), indent=1))
        return
    for table in tables(evaluation):
        out.print(table)
    typer.echo(summary(evaluation))


@app.command()
def bench(
    files: Annotated[list[Path] | None, typer.Argument(help="Footage of your own, too.")] = None,
    activity: Annotated[
        list[str] | None, typer.Option(help="quiet, normal or busy; default: all three.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Length of the rendered footage.", min=20)] = 600,
    reference_seconds: Annotated[
        float, typer.Option(help="How much of it the two dear loops see.", min=5)
    ] = 600,
    folder: Annotated[Path | None, typer.Option(help="Keep the rendered footage here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure what watching a camera costs, beside the naive loop and beside looking at everything.

    Ten minutes each of rendered quiet, normal and busy footage (1280×720, 15 fps) are watched
    three times, one after another, each in a process of its own on one thread: by Ultralytics'
    tracking on every frame, by the shipped detectors on every frame, and as shipped. All of it
    takes more than an hour; `--reference-seconds 60` holds the two dear loops to a minute each.
    """
    from pipelines import bench as benchmark
    from pipelines.bench_report import table

    names = activity or list(benchmark.ACTIVITIES)
    if unknown := set(names) - set(benchmark.ACTIVITIES):
        raise ConfigurationError(f"no activity {', '.join(sorted(unknown))}: quiet, normal, busy")
    with tempfile.TemporaryDirectory() as scratch, Progress(console=err, transient=True) as shown:
        task = shown.add_task("starting", total=1.0)
        compared = benchmark.bench(
            files or [],
            [name for name in benchmark.ACTIVITIES if name in names],
            duration_s=seconds,
            reference_s=reference_seconds,
            folder=folder or Path(scratch),
            progress=lambda text, share: shown.update(task, description=text, completed=share),
        )
    if as_json:
        typer.echo(json.dumps(benchmark.as_json(compared), indent=1))
        return
    for one in compared:
        out.print(table(one))


@app.command()
def backfill(
    feed: Annotated[str, typer.Argument(help="A feed of the catalog.")],
    start: Annotated[datetime, typer.Option("--from", help="UTC.")],
    end: Annotated[datetime, typer.Option("--to", help="UTC; not included.")],
    rule: Annotated[
        list[str] | None,
        typer.Option(help="ID@VERSION: hold this version of a rule instead of the current one."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="NAME@DIGEST[/CONFIG]: count what this version of a model saw."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Re-run a range of time, by the rules as they are now or by the versions that are named.

    What was raised stays as it is, decided or not; running it again raises nothing twice.

    Of sensors, messages are read as the catalog says now, and readings that came too late and were
    set aside are taken in.

    Of footage, what each version of a model saw stays stored. `--model` holds the rules against
    the observations of a version instead of today's; of each digest 8 digits are enough. Of
    several configurations of that version the one that looked last counts, unless CONFIG is
    given. Captures that it has not looked at are looked at now if it is the version that is
    installed (`sightline models list`); else nothing is done, and the versions that are stored
    are named. Which versions a lead rests on is in its manifest: the case page names them, and so
    does `GET /api/v1/leads/ID`.
    """
    from pipelines.backfill import backfill as run_again
    from pipelines.model_versions import ModelPin
    from pipelines.wiring import store_running, wire

    pins = dict(_pinned(one) for one in rule or [])
    models = [ModelPin.parse(one) for one in model or []]
    wiring = wire()
    with _records(wiring.settings), store_running(wiring):
        done = run_again(feed, start.replace(tzinfo=UTC), end.replace(tzinfo=UTC), pins, models)
    if as_json:
        typer.echo(json.dumps(done._asdict(), indent=1))
        return
    hours = f", {done.windows} hours" if done.windows else ""
    typer.echo(f"{feed}: {done.captures} captures{hours}")
    for version, held in done.models.items():
        typer.echo(f"  {held} by {version}")
    for lead_id in done.raised:
        typer.echo(f"  new lead {lead_id}")
    if not done.raised:
        typer.echo("  nothing new")


def _pinned(text: str) -> tuple[str, int]:
    """``ID@VERSION`` as its parts."""
    rule_id, at, version = text.partition("@")
    if not at or not version.isdecimal():
        raise ConfigurationError(f"--rule {text}: write ID@VERSION, such as construction-noise@1")
    return rule_id, int(version)


@queue_app.command("list")
def queue_list(
    as_json: AsJson = False,
    state: Annotated[list[CaseState] | None, typer.Option(help="Only these states.")] = None,
) -> None:
    """List leads and cases, oldest alarm first."""
    from pipelines.wiring import wire
    from storage.records import casebook

    with _records(wire().settings), wire().database.transaction() as connection:
        entries = casebook.queue(connection, state or None, limit=10_000)
    if as_json:
        leads = [
            {
                "lead_id": lead.lead_id,
                "rule_id": lead.rule_id,
                "feed_id": lead.feed_id,
                "state": case.state,
                "alarm_at_s": round(lead.alarm_at_s, 3),
                "onset_s": round(lead.onset_s, 3),
                "alarm_at": lead.alarm_at.isoformat(),
                "box": [round(x, 4) for x in lead.box],
                "capture_id": lead.capture_id,
                "evidence_digest": case.evidence_digest,
            }
            for lead, case in entries
        ]
        typer.echo(json.dumps({"leads": leads}, indent=1))
        return
    table = Table("alarm (UTC)", "rule", "feed", "state", "lead")
    for lead, case in entries:
        table.add_row(
            f"{lead.alarm_at:%Y-%m-%d %H:%M:%S}", lead.rule_id, lead.feed_id, case.state,
            lead.lead_id,
        )  # fmt: skip
    out.print(table if entries else "The queue is empty: `sightline ingest FILE` fills it.")


@app.command()
def dispatch(as_json: AsJson = False) -> None:
    """Send confirmed cases to their recipients, and recalls of recalled ones.

    Sends nothing that lacks its confirmations. What a recipient did not acknowledge stays in the
    outbox and is tried again, with the same event id, when its time has come.
    """
    from pipelines import dispatch as steps
    from pipelines.wiring import store_running, wire

    with _records(wire().settings), store_running(wire()):
        dispatched = steps.dispatch_confirmed()
        handed_over = steps.deliver_due()
    if as_json:
        typer.echo(json.dumps({"dispatched": dispatched, **handed_over}))
        return
    typer.echo(
        f"dispatched {len(dispatched)}, delivered {handed_over['delivered']}"
        f" events, {handed_over['failed']} not taken"
    )


@models_app.command("pull")
def models_pull(
    names: Annotated[list[str] | None, typer.Argument(help="Default: the shipped rules'.")] = None,
) -> None:
    """Fetch models from their published packages, check their digests, convert them once."""
    from detectors import models

    folder = Settings.load().models
    for name in names or models.needed():
        models.pull(name, folder, lambda text: err.print(text, highlight=False))
        typer.echo(f"{name}: ready in {folder}")


@models_app.command("list")
def models_list(as_json: AsJson = False) -> None:
    """Show the catalog's models and which are installed."""
    from detectors import models

    statuses = models.list_models(Settings.load().models)
    if as_json:
        models_json = [
            {
                "model": s.entry.name, "export": s.entry.export, "optional": s.entry.optional,
                "state": s.state, "digest": s.digest,
            }
            for s in statuses
        ]  # fmt: skip
        typer.echo(json.dumps({"models": models_json}, indent=1))
        return
    table = Table("model", "from", "licence", "runs as", "state")
    for status in statuses:
        entry = status.entry
        table.add_row(
            entry.name, f"{entry.package} {entry.version}", entry.licence,
            entry.export + (", optional" if entry.optional else ""),
            status.state + (f" {status.digest[:12]}" if status.digest else ""),
        )  # fmt: skip
    out.print(table)


@demo_app.command("render")
def demo_render(
    folder: Annotated[Path, typer.Argument(help="Where to put scenes and their truth.")],
    scenes: Annotated[list[str] | None, typer.Option("--scene", help="Default: all.")] = None,
) -> None:
    """Render the demo scenes as video files, each with its exact truth as JSON beside it."""
    from media.scenes import SCENES, render

    unknown = set(scenes or ()) - set(SCENES)
    if unknown:
        raise ConfigurationError(f"no scene {', '.join(unknown)}; there are {', '.join(SCENES)}")
    folder.mkdir(parents=True, exist_ok=True)
    for scene in scenes or SCENES:
        target = folder / f"{scene}.mp4"
        truth = render(scene, target)
        target.with_suffix(".json").write_text(truth.model_dump_json(indent=1), "utf-8")
        typer.echo(target)


@demo_app.command("patrol")
def demo_patrol(
    folder: Annotated[Path, typer.Argument(help="Where to put both flights and their truth.")],
    seed: Annotated[int, typer.Option("--seed", help="Another site and another heap.")] = 1,
) -> None:
    """Render two flights over one site, with telemetry; a heap of waste lies there on the second.

    Beside them `zones.json`, for `sightline flights compare`, and the truth.
    """
    from media.patrol_scenes import patrol, render_patrol

    folder.mkdir(parents=True, exist_ok=True)
    truth = render_patrol(patrol(seed), folder)
    zones = [
        {"zone_id": "site", "purpose": "no_dumping", "polygon": truth.watched},
        {"zone_id": "car-park", "purpose": "lawful_use", "polygon": truth.car_park},
    ]
    (folder / "zones.json").write_text(json.dumps(zones, indent=1))
    (folder / "truth.json").write_text(truth.model_dump_json(indent=1))
    typer.echo(f"{folder / truth.before.video}\n{folder / truth.after.video}")


@demo_app.command("evaluation")
def demo_evaluation(
    folder: Annotated[Path, typer.Argument(help="Where to put the clips and their index.json.")],
    held_back: Annotated[
        bool, typer.Option("--held-back", help="The split that nothing was tuned on.")
    ] = False,
    clip: Annotated[list[str] | None, typer.Option(help="Default: all.")] = None,
) -> None:
    """Render an evaluation set: dumping in every manner, lawful scenes, bad weather, bad views.

    About 60 clips and, among them, more than an hour in which nothing must be raised; takes half
    an hour. What lies in the folder already is kept. Then: `sightline evaluate FOLDER/index.json`.
    """
    from media.evaluation_scenes import render_set

    with Progress(console=err, transient=True) as shown:
        task = shown.add_task("rendering", total=None)

        def show(name: str, number: int, total: int) -> None:
            shown.update(task, total=total, completed=number, description=name)

        typer.echo(
            render_set(
                "held-back" if held_back else "tuning", folder, names=clip or (), progress=show
            )
        )


@catalog_app.command("check")
def catalog_check() -> None:
    """Read the catalog and say what it holds, or where it is wrong."""
    from settings.catalog import load_catalog

    settings = Settings.load()
    catalog = load_catalog(settings.catalog_folder)
    for feed in catalog.feeds:
        zones = ", ".join(f"{z.zone_id} ({z.purpose})" for z in feed.zones) or "no zones"
        typer.echo(f"feed {feed.feed_id}: {feed.source.kind}, {zones}")
    for mission in catalog.missions:
        ground = ", ".join(f"{z.zone_id} ({z.purpose})" for z in mission.zones) or "no ground zones"
        typer.echo(f"mission {mission.mission_id}: feed {mission.feed_id}, {ground}")
    for rule in catalog.current_rules:
        typer.echo(f"rule {rule.rule_id} version {rule.version}: {rule.title.en}")
    typer.echo(f"{settings.catalog_folder} is in order")


@catalog_app.command("preview")
def catalog_preview(
    feed_id: str,
    picture: Annotated[Path, typer.Option("--out", help="JPEG to write.")],
    footage: Annotated[
        Path | None, typer.Option(help="Footage to draw on; default: the feed's newest file.")
    ] = None,
) -> None:
    """Draw a feed's zones into a picture of its view, to see whether they lie right."""
    from pipelines.ingest import preview
    from pipelines.wiring import wire

    preview(wire(), feed_id, footage, picture)
    typer.echo(picture)


@accounts_app.command("list")
def accounts_list() -> None:
    """List the accounts."""
    from storage.records import accounts

    with _records(Settings.load()) as database, database.transaction() as connection:
        table = Table("user", "name", "role", "person", "certificate", "open")
        for one in accounts.all_accounts(connection):
            table.add_row(
                one.username, one.display_name, one.role, one.person_id,
                one.certificate_no or "", "yes" if one.active else "no",
            )  # fmt: skip
    out.print(table)


@accounts_app.command("add")
def accounts_add(
    username: str,
    role: Annotated[Role, typer.Option(help="What the account may do.")],
    person: Annotated[str, typer.Option(help="Staff number of the natural person.")],
    name: Annotated[str, typer.Option(help="Name as shown.")],
    certificate: Annotated[str | None, typer.Option(help="An officer's certificate.")] = None,
    valid_from: Annotated[datetime | None, typer.Option(help="Certificate valid from.")] = None,
    valid_until: Annotated[datetime | None, typer.Option(help="Certificate valid until.")] = None,
    password: Annotated[
        str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True)
    ] = "",
) -> None:
    """Add an account. One person may have several; confirmations count by person."""
    from storage.records import accounts

    try:
        account = Account(
            account_id=str(uuid.uuid4()),
            username=username,
            person_id=person,
            display_name=name,
            role=role,
            certificate_no=certificate,
            certificate_valid_from=valid_from and valid_from.replace(tzinfo=UTC),
            certificate_valid_until=valid_until and valid_until.replace(tzinfo=UTC),
        )
    except ValidationError as error:
        reasons = "; ".join(one["msg"].removeprefix("Value error, ") for one in error.errors())
        raise ConfigurationError(f"this account cannot be: {reasons}") from error
    with _records(Settings.load()) as database, database.transaction() as connection:
        accounts.add_account(connection, account, password)
    typer.echo(f"{username} may sign in")


@accounts_app.command("close")
def accounts_close(username: str) -> None:
    """Close an account; its sessions end at once and its decisions stay on record."""
    from storage.records import accounts

    with _records(Settings.load()) as database, database.transaction() as connection:
        try:
            accounts.set_active(connection, username, False)
        except KeyError as error:
            raise ConfigurationError(f"there is no account {username}") from error
    typer.echo(f"{username} is closed")


@evidence_app.command("quarantined")
def evidence_quarantined() -> None:
    """List captures that were set aside, newest first; their bytes are kept as received.

    Nobody can decode them, or their readings came too late: `sightline backfill` takes those in.
    """
    from storage.records import captures

    with _records(Settings.load()) as database, database.transaction() as connection:
        rows = captures.quarantined(connection)
    table = Table("set aside (UTC)", "feed", "file", "reason")
    for row in rows:
        table.add_row(
            f"{row['at']:%Y-%m-%d %H:%M:%S}", row["feed_id"], row["source_name"], row["reason"]
        )
    out.print(table if rows else "No capture was set aside.")


@evidence_app.command("verify")
def evidence_verify(as_json: AsJson = False) -> None:
    """Re-hash every capture and every sealed package against the records; exit code 1 on damage."""
    from pipelines.verify import verify_all
    from pipelines.wiring import store_running, wire

    with _records(wire().settings), store_running(wire()):
        report = verify_all(wire())
    if as_json:
        typer.echo(json.dumps(report.as_json(), indent=1))
    else:
        typer.echo(
            f"captures {report.captures}, cases {report.cases}, objects {report.objects}"
            f" re-hashed, {len(report.damaged)} damaged"
        )
        for line in report.damaged:
            typer.echo(f"  {line}")
    raise typer.Exit(1 if report.damaged else 0)


@contextmanager
def _records(settings: Settings) -> Iterator[Database]:
    """The owner's connection to the records, with the schema up to date."""
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = Database(settings.admin_database)
    try:
        database.migrate()
        yield database
    finally:
        database.close()


if __name__ == "__main__":
    main()
