"""Both languages are complete, and the switch works."""

import ast
import re
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from review import labels, language
from tests.review.stage import Stage

ROOT = Path(language.__file__).parents[1]
REFUSALS = {"GateRefusal", "NotPermitted", "StaleVersion", "NotConfirmed"}


def _first(text: object) -> str:
    """A text, or the singular of one that counts."""
    return str(text[0]) if isinstance(text, (list, tuple)) else str(text)


def texts_of_the_room() -> set[str]:
    found = extract_from_dir(
        ROOT / "review",
        method_map=[("**.py", "python"), ("templates/**.html", "jinja2")],
        keywords={"_": None, "N_": None, "ngettext": (1, 2)},
    )
    return {_first(message) for _, _, message, _, _ in found if message}


def chinese() -> dict[str, str]:
    with (language.CATALOGS / "zh_Hans.po").open("rb") as source:
        return {_first(one.id): _first(one.string) for one in read_po(source) if one.id}


def test_every_text_has_a_chinese_one() -> None:
    catalog = chinese()
    texts = texts_of_the_room()
    assert len(texts) > 200
    assert sorted(text for text in texts if not catalog.get(text)) == []
    assert sorted(text for text, translated in catalog.items() if not translated) == []


def test_translations_keep_their_placeholders() -> None:
    for text, translated in chinese().items():
        pattern = r"%\(\w+\)s|\{\w+\}"
        assert sorted(re.findall(pattern, text)) == sorted(re.findall(pattern, translated)), text


def raised_refusals() -> list[str]:
    """Refusals as the code writes them, with values put in where it has f-strings."""
    texts = []
    for path in [*(ROOT / "enforcement").glob("*.py"), *(ROOT / "review").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)):
                continue
            name = node.exc.func
            if isinstance(name, ast.Name) and name.id in REFUSALS and node.exc.args:
                texts += _text(node.exc.args[0])
    return texts


def _text(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        return [
            "".join(
                str(part.value) if isinstance(part, ast.Constant) else "7" for part in node.values
            )
        ]
    return []


def test_every_refusal_can_be_told_in_chinese() -> None:
    refusals = raised_refusals()
    assert len(refusals) > 25
    for text in refusals:
        assert language.retold("zh-Hans", text, labels.ALL) != text, text


def stated_reasons() -> list[str]:
    """Why a rule was satisfied: the texts in every ``reasons = (…)`` of the rules, values as 7."""
    stated = []
    for name in ("dumping", "hazards", "occupancy", "throwing"):
        tree = ast.parse((ROOT / "enforcement" / f"{name}.py").read_text("utf-8"))
        for node in ast.walk(tree):
            named = isinstance(node, ast.keyword) and node.arg == "reasons"
            if isinstance(node, ast.Assign):
                named = ast.unparse(node.targets[0]) == "reasons"
            value = getattr(node, "value", None)
            if named and isinstance(value, ast.Tuple):
                choices = [
                    [e.body, e.orelse] if isinstance(e, ast.IfExp) else [e] for e in value.elts
                ]
                stated += [text for each in choices for one in each for text in _text(one)]
    return stated


def test_every_reason_of_a_rule_can_be_told_in_chinese() -> None:
    reasons = stated_reasons()
    assert len(reasons) >= 8
    for text in reasons:
        assert language.retold("zh-Hans", text, labels.ALL) != text, text
    told = language.retold("zh-Hans", "person and car away since 12.4 s", labels.ALL)
    assert told == "人员、小汽车自 12.4 秒起已离开"


def test_values_inside_a_refusal_are_translated_too() -> None:
    text = "this needs the role analyst or officer; you are signed in as service"
    told = language.retold("zh-Hans", text, labels.ALL)
    assert "分析员、执法人员" in told
    assert "服务程序" in told


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, "en"),
        ("zh-CN,zh;q=0.9", "zh-Hans"),
        ("en;q=0.4, zh;q=0.8", "zh-Hans"),
        ("de, en;q=0.5", "en"),
        ("fr;q=x, zh-TW", "zh-Hans"),
        (";;;,,q=", "en"),
    ],
)
def test_the_browser_is_asked_for_its_language(header: str | None, expected: str) -> None:
    assert language.choose(None, header) == expected


def test_a_chosen_language_wins_over_the_browsers(stage: Stage) -> None:
    client = stage.client(**{"accept-language": "zh"})
    assert "登录" in client.get("/login").text
    client.get("/language/en", params={"next": "/login"})
    assert "Sign in" in client.get("/login").text
    client.get("/language/xx", params={"next": "/login"})
    assert "Sign in" in client.get("/login").text


def test_pages_in_chinese_hold_no_english_sentence(stage: Stage) -> None:
    lead = stage.candidate()
    english = {text for text in texts_of_the_room() if " " in text and "%" not in text}
    for name, paths in {
        "ana": ("/", "/?state=recalled"),
        "otto": ("/", f"/leads/{lead}", "/nowhere"),
        "sue": ("/", f"/leads/{lead}", "/supervision"),
    }.items():
        client = stage.browser(name)
        client.cookies.set("sightline_language", "zh-Hans")
        for path in paths:
            page = client.get(path).text
            assert [text for text in english if text in page] == [], path
