"""Evidence bytes: through a case only, in ranges, logged."""

from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa

from storage.evidence_store import BucketRole
from storage.records import schema
from tests.review.stage import Stage


def views(stage: Stage) -> list[tuple[str, str, str]]:
    table = schema.evidence_views
    with stage.database.transaction() as connection:
        rows = connection.execute(sa.select(table).order_by(table.c.at)).mappings()
        return [(row["account_id"], row["lead_id"], row["item_id"]) for row in rows]


def test_a_clip_comes_whole_or_in_ranges(stage: Stage) -> None:
    lead = stage.lead()
    ana = stage.client("ana")
    at = f"/leads/{lead}/evidence/clip"
    whole = ana.get(at)
    assert whole.status_code == 200
    assert whole.headers["content-type"] == "video/mp4"
    data, size = whole.content, len(whole.content)
    for header, start, end in (
        ("bytes=0-99", 0, 99),
        ("bytes=100-", 100, size - 1),
        ("bytes=-50", size - 50, size - 1),
        (f"bytes=10-{size + 5}", 10, size - 1),
        (f"bytes={size - 1}-", size - 1, size - 1),
    ):
        part = ana.get(at, headers={"range": header})
        assert part.status_code == 206, header
        assert part.content == data[start : end + 1]
        assert part.headers["content-range"] == f"bytes {start}-{end}/{size}"
        assert part.headers["content-length"] == str(end - start + 1)


def test_a_range_outside_the_clip_is_refused_and_an_odd_one_ignored(stage: Stage) -> None:
    lead = stage.lead()
    ana = stage.client("ana")
    at = f"/leads/{lead}/evidence/clip"
    size = len(ana.get(at).content)
    for header in (f"bytes={size}-", "bytes=-0", f"bytes={size + 1}-{size + 9}"):
        part = ana.get(at, headers={"range": header})
        assert part.status_code == 416
        assert part.headers["content-range"] == f"bytes */{size}"
    for header in ("bytes=9-3", "bytes=0-1,4-5", "items=0-1", "bytes=a-b", "bytes=-"):
        assert ana.get(at, headers={"range": header}).status_code == 200, header


def test_a_browser_may_keep_evidence_for_itself_only(stage: Stage) -> None:
    lead = stage.lead()
    ana = stage.client("ana")
    at = f"/leads/{lead}/evidence/clip"
    first = ana.get(at)
    assert first.headers["cache-control"].startswith("private")
    tag = first.headers["etag"]
    assert ana.get(at, headers={"if-none-match": tag}).status_code == 304
    part = ana.get(at, headers={"range": "bytes=0-9", "if-range": '"other"'})
    assert part.status_code == 200
    assert ana.head(at).headers["content-length"] == str(len(first.content))


def test_evidence_of_another_lead_is_not_reachable(stage: Stage) -> None:
    mine, other = stage.candidate(), stage.lead()
    otto = stage.client("otto")
    assert otto.get(f"/leads/{mine}/evidence/clip").status_code == 200
    assert otto.get(f"/leads/{other}/evidence/clip").status_code == 403
    for item in ("none", "..%2f..%2fetc%2fpasswd", f"..%2f{other}%2fclip", "clip%00"):
        assert otto.get(f"/leads/{mine}/evidence/{item}").status_code == 404, item
    assert otto.get("/leads/none/evidence/clip").status_code == 404


def test_a_view_is_logged_once_a_session_and_before_the_bytes(stage: Stage) -> None:
    lead = stage.lead()
    ana = stage.client("ana")
    for header in ("bytes=0-9", "bytes=10-19"):
        ana.get(f"/leads/{lead}/evidence/clip", headers={"range": header})
    assert views(stage) == [("account-ana", lead, "clip")]
    stage.client("ana").get(f"/api/v1/leads/{lead}/evidence/clip")
    stage.client("ana").get(f"/leads/{lead}/thumbnail")
    assert views(stage)[1:] == [("account-ana", lead, "clip"), ("account-ana", lead, "frame-2")]


def test_nothing_is_shown_while_views_cannot_be_logged(stage: Stage) -> None:
    lead = stage.lead()
    ana = stage.client("ana")
    ana.get(f"/leads/{lead}/thumbnail")
    with stage.database.transaction() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER log_down BEFORE INSERT ON evidence_views"
            " BEGIN SELECT RAISE(ABORT, 'gate: the log is down'); END"
        )
    answer = ana.get(f"/leads/{lead}/evidence/clip")
    assert answer.status_code == 409
    assert b"ftyp" not in answer.content


def test_a_page_full_of_evidence_arrives_whole(stage: Stage) -> None:
    leads = [stage.lead() for _ in range(4)]
    ana = stage.client("ana")
    items = ("clip", "frame-1", "frame-2", "frame-3", "original")
    paths = [f"/leads/{lead}/evidence/{item}" for lead in leads for item in items]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda path: ana.get(path).status_code, paths))
    assert answers == [200] * len(paths)


def test_an_item_of_unknown_kind_is_a_download(stage: Stage) -> None:
    page = b"<script>alert(1)</script>"
    stored = stage.store.put_bytes(BucketRole.EVIDENCE, page, "text/html", prefix="test")
    lead = stage.lead(clip_object=stored)
    answer = stage.client("ana").get(f"/leads/{lead}/evidence/clip")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment"
    assert "sandbox" in answer.headers["content-security-policy"]


def test_the_overlay_has_boxes_and_zones_and_no_scores(stage: Stage) -> None:
    lead = stage.candidate()
    shown = stage.client("otto").get(f"/api/v1/leads/{lead}/overlay").json()
    assert [track["label"] for track in shown["tracks"]] == ["person", "static_object"]
    assert all(len(point) == 5 for track in shown["tracks"] for point in track["points"])
    (zone,) = shown["zones"]
    assert zone["concerned"]
    assert len(zone["polygon"]) == 4
    assert "score" not in str(shown)
