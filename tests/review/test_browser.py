"""The pages in a real Chromium: playback, overlay, keys, both languages."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from enforcement.cases import CaseState
from tests.review.stage import START, Stage
from tests.review.test_incident import joined, seen_by_another_camera
from tests.review.test_sensor_case import sealed

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
JOINED = ".package .player"


def clip_of(player: str = ".player") -> str:
    """The video of a player, that of the case's own clip unless told otherwise."""
    return f"document.querySelector('{player} video')"


def shows(moment_s: float, player: str = ".player") -> str:
    """Whether a player's clock shows this moment."""
    return f"document.querySelector('{player} .clock').textContent === '{moment_s:.2f} s'"


def ink_of(player: str = ".player") -> str:
    """How many pixels are drawn over a player's clip."""
    return (
        f"(() => {{ const c = document.querySelector('{player} canvas'); "
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; "
        "let n = 0; for (let i = 3; i < d.length; i += 4) if (d[i]) n++; return n; })()"
    )


CLIP, INK = clip_of(), ink_of()

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not CHROMIUM.exists(), reason="no chromium: the pages are not tried in a browser"
    ),
]

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_as(stage: Stage, chromium: Browser) -> Iterator[Open]:
    """Open a path as somebody; a script error or a refused script fails the test."""
    contexts, complaints = [], []

    def open_page(name: str, path: str = "/", locale: str = "en-GB") -> Page:
        context = chromium.new_context(locale=locale, viewport={"width": 1440, "height": 900})
        context.set_default_timeout(10_000)
        contexts.append(context)
        token = stage.session(name)
        context.add_cookies([{"name": "sightline_session", "value": token, "url": stage.url}])
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda message: complaints.append(message.text) if message.type == "error" else None,
        )
        page.goto(stage.url + path)
        page.wait_for_load_state("networkidle")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def until(page: Page, condition: str) -> None:
    """Wait for a condition; Playwright's own way needs ``eval``, which the pages' CSP forbids."""
    for _ in range(600):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"not within 30 s: {condition}")


def test_the_clip_plays_and_steps_frame_by_frame(stage: Stage, open_as: Open) -> None:
    page = open_as("ana", f"/leads/{stage.lead()}")
    until(page, f"{CLIP}.readyState >= 3")
    page.keyboard.press(" ")
    until(page, f"{CLIP}.getVideoPlaybackQuality().totalVideoFrames > 5")
    page.keyboard.press(" ")
    assert page.evaluate(f"{CLIP}.paused")
    page.keyboard.press("m")
    until(page, f"!{CLIP}.seeking && Math.abs({CLIP}.currentTime - 3) < 0.06")
    # Stepping starts from the frame on screen, which comes a little after the seek has ended.
    until(page, shows(3.0))
    for key, moment_s in ((".", 3.1), (".", 3.2), (",", 3.1), (",", 3.0), (",", 2.9)):
        page.keyboard.press(key)
        until(page, shows(moment_s))
        page.wait_for_timeout(150)


def test_boxes_and_zones_are_drawn_and_can_be_hidden(stage: Stage, open_as: Open) -> None:
    page = open_as("ana", f"/leads/{stage.lead()}")
    page.keyboard.press("m")
    until(page, f"!{CLIP}.seeking && {INK} > 1000")
    all_of_it = page.evaluate(INK)
    page.keyboard.press("n")
    until(page, f"{INK} < {all_of_it} && {INK} > 0")
    page.keyboard.press("b")
    until(page, f"{INK} === 0")


def test_a_box_lies_where_the_thing_is_at_that_moment(stage: Stage, open_as: Open) -> None:
    page = open_as("ana", f"/leads/{stage.lead()}")
    # The page itself seeks once, as soon as it knows the onset.
    until(page, f"{CLIP}.readyState >= 3 && !{CLIP}.seeking && {INK} > 1000")
    page.keyboard.press("n")
    page.evaluate(f"{CLIP}.currentTime = 1.04")
    until(page, f"!{CLIP}.seeking && {INK} > 100")
    until(page, shows(1.0))
    # Left edge of the walker at 1.0 s: 0.05 + 0.17 = 0.22 of the picture's width.
    edge = page.evaluate(
        "(() => { const c = document.querySelector('.player canvas');"
        "const v = document.querySelector('.player video');"
        "const r = c.width / c.clientWidth;"
        "const scale = Math.min(v.clientWidth / v.videoWidth, v.clientHeight / v.videoHeight);"
        "const w = v.videoWidth * scale, left = (v.clientWidth - w) / 2;"
        "const y = Math.round((v.clientHeight / 2 + 0.1 * v.videoHeight * scale) * r);"
        "const row = c.getContext('2d').getImageData(0, y, c.width, 1).data;"
        "for (let x = 0; x < c.width; x++) if (row[4 * x + 3]) return (x / r - left) / w; })()"
    )
    assert edge == pytest.approx(0.22, abs=0.012)


def test_a_lead_goes_all_the_way_by_keys(stage: Stage, open_as: Open) -> None:
    lead, other = stage.lead(), stage.lead()
    page = open_as("ana")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/leads/{lead}")
    page.keyboard.press("c")
    page.wait_for_url("**done=claimed")
    page.keyboard.press("a")
    page.keyboard.press("Control+Enter")
    page.wait_for_url(f"**/leads/{other}?done=triaged")
    assert stage.case(lead).state is CaseState.CANDIDATE
    for name in ("otto", "olga"):
        page = open_as(name, f"/leads/{lead}")
        for key in ("1", "2", "3", "4", "a"):
            page.keyboard.press(key)
        page.keyboard.press("Control+Enter")
        page.wait_for_url("**/?done=judged")
    assert stage.case(lead).state is CaseState.CONFIRMED


def test_a_choice_can_be_taken_back_until_it_is_sent(stage: Stage, open_as: Open) -> None:
    lead = stage.lead()
    stage.client("ana").post(f"/api/v1/leads/{lead}/claim", json={"version": 1})
    page = open_as("ana", f"/leads/{lead}")
    chosen = "[...document.querySelectorAll('#verdict-form :checked')].map(i => i.value).join()"
    page.keyboard.press("x")
    page.keyboard.press("2")
    assert page.evaluate(chosen) == "not_a_violation,nothing_there"
    page.keyboard.press("u")
    page.keyboard.press("1")
    assert page.evaluate(chosen) == "unclear,poor_picture"
    for _ in range(2):
        page.keyboard.press("z")
    assert page.evaluate(chosen) == "not_a_violation,nothing_there"
    for _ in range(2):
        page.keyboard.press("z")
    assert page.evaluate(chosen) == ""
    page.keyboard.press("Control+Enter")
    assert stage.case(lead).state is CaseState.IN_TRIAGE


def test_attestations_start_unset_and_an_officer_cannot_skip_them(
    stage: Stage, open_as: Open
) -> None:
    lead = stage.candidate()
    page = open_as("otto", f"/leads/{lead}")
    assert page.locator("#verdict-form :checked").count() == 0
    page.keyboard.press("a")
    page.keyboard.press("Control+Enter")
    page.wait_for_timeout(200)
    assert stage.confirmation_count(lead) == 0


def test_keys_do_nothing_while_one_writes_a_note(stage: Stage, open_as: Open) -> None:
    lead = stage.lead()
    stage.client("ana").post(f"/api/v1/leads/{lead}/claim", json={"version": 1})
    page = open_as("ana", f"/leads/{lead}")
    page.get_by_label("Note").click()
    page.keyboard.type("a box, x marks?")
    assert page.locator("#verdict-form [name=verdict]:checked").count() == 0
    assert page.get_by_label("Note").input_value() == "a box, x marks?"


def test_the_table_of_keys_opens_and_closes(stage: Stage, open_as: Open) -> None:
    page = open_as("ana")
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#keys").is_visible()


def test_the_language_can_be_switched_in_place(stage: Stage, open_as: Open) -> None:
    lead = stage.candidate()
    page = open_as("otto", f"/leads/{lead}", locale="zh-CN")
    assert page.get_by_text("待审核确认").first.is_visible()
    for word in ("真实", "清晰", "完整", "准确"):
        assert page.get_by_text(word, exact=True).is_visible()
    page.get_by_role("link", name="English").click()
    page.wait_for_url(f"**/leads/{lead}")
    assert page.get_by_text("Awaiting confirmation").first.is_visible()


def test_hostile_metadata_runs_no_script(stage: Stage, open_as: Open) -> None:
    act = "document.title='taken'"
    hostile = f'<img src=x onerror="{act}"><script>{act}</script>'
    lead = stage.candidate(source_name=hostile, reasons=(hostile,), matter=hostile)
    page = open_as("sue", f"/leads/{lead}")
    page.wait_for_timeout(200)
    assert "taken" not in page.title()
    assert page.locator("img[src=x]").count() == 0


def test_a_case_of_readings_shows_its_trace_and_takes_the_keys(stage: Stage, open_as: Open) -> None:
    footage = stage.lead(alarm_at=START - timedelta(hours=1))
    readings = sealed(stage)
    page = open_as("ana", f"/leads/{readings}")
    until(page, "document.querySelector('.trace img').naturalWidth === 1280")
    assert page.locator("video").count() == 0
    page.keyboard.press("c")
    page.wait_for_selector("#verdict-form")
    page.keyboard.press("a")
    assert page.evaluate("document.querySelector('[name=verdict]:checked').value") == "violation"
    page.keyboard.press("k")
    page.wait_for_url(f"**/leads/{footage}*")
    until(page, f"{CLIP}.readyState >= 2")
    page.keyboard.press("j")
    page.wait_for_url(f"**/leads/{readings}*")


def with_two_clips(stage: Stage, open_as: Open) -> Page:
    """The page of a case with the clips of two cameras, once both show the moment they begin at."""
    lead = stage.lead()
    seen_by_another_camera(stage, lead)
    page = open_as("ana", f"/leads/{lead}")
    until(page, f"{shows(0.0)} && {shows(1.0, JOINED)} && {INK} > 100")
    return page


def test_a_joined_clip_shows_what_the_machine_saw_in_it(stage: Stage, open_as: Open) -> None:
    page = with_two_clips(stage, open_as)
    joined_ink, marks = ink_of(JOINED), page.locator(f"{JOINED} .marks i")
    until(page, f"{joined_ink} > 1000")
    assert [marks.nth(n).get_attribute("class") for n in range(3)] == ["span", "onset", "alarm"]
    page.locator(f"{JOINED} .to-alarm").click()
    until(page, shows(4.0, JOINED))
    all_of_it, own = page.evaluate(joined_ink), page.evaluate(INK)
    page.locator(f"{JOINED} .show-zones").click()
    until(page, f"{joined_ink} < {all_of_it}")
    boxes = page.evaluate(joined_ink)
    # The walker's box and the finding, which begins now.
    page.locator(f"{JOINED} .back").click()
    until(page, shows(3.9, JOINED))
    until(page, f"{joined_ink} < {boxes} && {joined_ink} > 100")
    page.locator(f"{JOINED} .show-boxes").click()
    until(page, f"{joined_ink} === 0")
    assert page.evaluate(INK) == own


def test_keys_go_to_the_player_that_was_last_used(stage: Stage, open_as: Open) -> None:
    page = with_two_clips(stage, open_as)
    keyed = page.locator(".player[aria-current=true] video")
    assert keyed.get_attribute("id") == "clip"
    page.keyboard.press("m")
    until(page, shows(3.0))
    page.locator(f"{JOINED} .clock").click()
    assert keyed.get_attribute("id") == "2.clip"
    page.keyboard.press("m")
    until(page, shows(4.0, JOINED))
    page.keyboard.press(".")
    until(page, shows(4.1, JOINED))
    assert page.evaluate(shows(3.0))
    page.locator(".player .back").first.focus()
    assert keyed.get_attribute("id") == "clip"
    page.keyboard.press(",")
    until(page, shows(2.9))
    page.evaluate(f"{clip_of(JOINED)}.play()")
    until(page, "document.querySelector('.player[aria-current=true] video').id === '2.clip'")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press(" ")
    assert page.evaluate(f"{clip_of(JOINED)}.paused && {CLIP}.paused")
    assert page.evaluate(shows(2.9))


def test_a_key_frame_leads_to_its_moment_in_the_clip_of_its_own_package(
    stage: Stage, open_as: Open
) -> None:
    page = with_two_clips(stage, open_as)
    page.locator(".package .frames a").last.click()
    until(page, shows(5.0, JOINED))
    assert page.evaluate(shows(0.0))
    page.keyboard.press(",")
    until(page, shows(4.9, JOINED))
    page.locator(".case-main > .frames a").nth(1).click()
    until(page, shows(3.0))
    page.keyboard.press(".")
    until(page, shows(3.1))
    assert page.evaluate(shows(4.9, JOINED))
    assert len(page.context.pages) == 1


def test_the_clip_that_joined_a_case_of_readings_takes_the_keys(
    stage: Stage, open_as: Open
) -> None:
    readings = sealed(stage)
    joined(stage, readings)
    page = open_as("ana", f"/leads/{readings}")
    until(page, f"{INK} > 1000")
    page.keyboard.press("m")
    until(page, shows(3.0))
    assert page.locator(".player[aria-current]").count() == 0
