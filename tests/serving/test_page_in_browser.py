"""The page in a browser, before a server that streams as vLLM does: what a person sees, hears, and can do."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from page_server import BREAK, HOLD, Event, Models, PageServer, end, one, refused, told

from pipelines.core.storage import Folder
from serving import keys
from serving.door import Door
from serving.shown import Shown, ShownAnswer, ShownJudgement, ShownReply, kept

pytestmark = pytest.mark.browser

HOSTILE = '<img src=x onerror="alert(1)"><script>alert(2)</script> & "quoted"'
SHORT: Sequence[Event] = [one("Yes"), one("."), *end(3)]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., tuple[str, Models]]]:
    """(url, models) of a server of these scripts, and of these rows."""
    servers = []

    def make(scripts: Mapping[str, Any], rows: Sequence[Shown] = (), door: Door | None = None, **how: Any) -> Any:
        models = Models(scripts, **how)
        servers.append(PageServer(models, door, kept(Folder(str(tmp_path / "run")), rows, "What was said.")))
        return servers[-1].url, models

    yield make
    for server in servers:
        server.close()


def expect(locator: Any) -> Any:
    from playwright.sync_api import expect as expecting

    return expecting(locator)


def ask(page: Any, prompt: str = "Describe the bread.") -> None:
    page.get_by_label("Prompt").fill(prompt)
    page.get_by_role("button", name="Ask").click()


def column(page: Any, model: str) -> Any:
    return page.get_by_role("article", name=model, exact=True)


def figure(page: Any, model: str, name: str) -> str:
    text = column(page, model).locator(".figures div").filter(has=page.get_by_text(name, exact=True)).locator("dd")
    return str(text.text_content())


def piece(page: Any, model: str, text: str) -> Any:
    return column(page, model).locator(".piece").get_by_text(text, exact=True)


# Comparing.


def test_models_answer_side_by_side_each_at_its_own_pace(serve: Any, open_page: Any) -> None:
    long = [one(f" word{n}") for n in range(12)]
    url, models = serve({"teacher": [*long, *end(13)], "student": [one("Slow"), HOLD, one("ly"), *end(3, "length")]})
    page = open_page(url)
    page.get_by_label("Tokens at most").fill("64")
    ask(page)
    expect(column(page, "teacher").locator(".state")).to_have_text("finished")
    expect(column(page, "student").locator(".answer")).to_have_text("Slow")
    expect(column(page, "student").locator(".state")).to_have_text("answering")
    expect(page.locator("#progress")).to_have_text("2 models answer.")
    models.go_on = True
    expect(column(page, "student").locator(".state")).to_have_text("cut off at the limit of 64 tokens")
    expect(column(page, "student").locator(".answer")).to_have_text("Slowly")
    said = "teacher: finished; student: cut off at the limit of 64 tokens."
    expect(page.locator("#progress")).to_have_text(said)
    assert (figure(page, "teacher", "tokens"), figure(page, "student", "tokens")) == ("13", "3")
    assert float(figure(page, "teacher", "tokens/s")) > float(figure(page, "student", "tokens/s"))
    assert re.fullmatch(r"\d+\.\d+ s", figure(page, "student", "first token"))
    assert len(models.asked) == 2
    for asked in models.asked:
        assert asked["messages"] == [{"role": "user", "content": "Describe the bread."}]
        assert (asked["stream"], asked["stream_options"], asked["logprobs"]) == (True, {"include_usage": True}, True)
        assert (asked["temperature"], asked["max_tokens"]) == (0.7, 64)


def test_only_the_chosen_models_are_asked(serve: Any, open_page: Any) -> None:
    url, models = serve({"teacher": SHORT, "student": SHORT})
    page = open_page(url)
    page.get_by_role("checkbox", name="teacher").uncheck()
    ask(page)
    expect(column(page, "student").locator(".state")).to_have_text("finished")
    assert [asked["model"] for asked in models.asked] == ["student"]
    assert page.locator(".column").count() == 1
    page.get_by_role("checkbox", name="student").uncheck()
    ask(page)
    expect(page.locator("#progress")).to_have_text("Choose a model.")


def test_figures_are_worked_out_by_hand(serve: Any, open_page: Any) -> None:
    page = open_page(serve({"student": SHORT})[0])
    got = page.evaluate(
        """async () => {
            const { Figures } = await import("/page/figures.js");
            let now = 1000;
            performance.now = () => now;
            const figures = new Figures();
            const before = [figures.wait, figures.rate];
            for (const at of [1250, 1500, 2250]) { now = at; figures.count(1); }
            now = 9000;
            figures.count(0); // an event that brings no token is no later
            return [before, figures.tokens, figures.wait, figures.rate];
        }"""
    )
    assert got == [[None, None], 3, 0.25, 2]


def test_an_error_stands_in_its_column_in_the_servers_words_and_the_others_go_on(serve: Any, open_page: Any) -> None:
    broken = [one("So far"), {"error": {"message": "the engine is out of memory", "code": 500}}]
    url, _ = serve(
        {
            "busy": refused(429, "too many requests a minute", retry_after="30"),
            "unfit": refused(400, "the prompt is longer than the window"),
            "broken": broken,
            "cut": [one("And then"), BREAK],
            "silent": [one("And then")],
            "student": SHORT,
        }
    )
    page = open_page(url)
    ask(page)
    words = {
        "busy": "429: too many requests a minute (Retry-After: 30 s)",
        "unfit": "400: the prompt is longer than the window",
        "broken": "the engine is out of memory",
        "cut": "The answer broke off: the server closed the stream before its end.",
        "silent": "ended: the server does not say why",
        "student": "finished",
    }
    for model, state in words.items():
        expect(column(page, model).locator(".state")).to_have_text(state)
    expect(column(page, "broken").locator(".answer")).to_have_text("So far")
    expect(column(page, "student").locator(".answer")).to_have_text("Yes.")
    expect(page.locator("#progress")).to_contain_text("busy: failed; unfit: failed; broken: failed")


def test_escape_stops_all_and_the_server_sees_it(serve: Any, open_page: Any) -> None:
    waiting = [one("So far"), HOLD, one("never"), *end(3)]
    url, models = serve({"teacher": waiting, "student": waiting})
    page = open_page(url)
    ask(page)
    for model in ("teacher", "student"):
        expect(column(page, model).locator(".answer")).to_have_text("So far")
    page.keyboard.press("Escape")
    for model in ("teacher", "student"):
        expect(column(page, model).locator(".state")).to_have_text("stopped")
    expect(page.get_by_role("button", name="Stop")).to_be_disabled()
    expect(page.locator("#progress")).to_have_text("teacher: stopped; student: stopped.")
    while len(models.left) < 2:
        page.wait_for_timeout(50)
    assert sorted(models.left) == ["student", "teacher"]


def test_asking_again_stops_what_is_under_way(serve: Any, open_page: Any) -> None:
    url, models = serve({"student": [one("A"), HOLD, one("B"), *end(3)]})
    page = open_page(url)
    ask(page)
    expect(column(page, "student").locator(".answer")).to_have_text("A")
    ask(page, "Again.")
    while not models.left:
        page.wait_for_timeout(50)
    models.go_on = True
    expect(column(page, "student").locator(".answer")).to_have_text("AB")
    assert page.locator(".column").count() == 1


# Likelihoods.


def test_pieces_are_shaded_and_tell_their_likelihood(serve: Any, open_page: Any) -> None:
    tokens = [("Sure", 0.95), (" maybe", 0.6), (" hardly", 0.2), (" never", 0.004)]
    url, _ = serve({"student": [*(one(text, math.log(p)) for text, p in tokens), *end(5)]})
    page = open_page(url)
    ask(page)
    expect(column(page, "student").locator(".state")).to_have_text("finished")
    assert column(page, "student").locator(".shaded").count() == 0
    page.get_by_label("Shade by likelihood").check()
    shown = column(page, "student").locator(".shaded .piece")
    assert [shown.nth(n).get_attribute("class") for n in range(4)] == [f"piece likely-{n}" for n in (3, 2, 1, 0)]
    seen = "e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).textDecorationLine].join()"
    assert len({shown.nth(n).evaluate(seen) for n in range(4)}) == 4
    piece(page, "student", " hardly").hover()
    expect(column(page, "student").locator(".told")).to_have_text("“ hardly” 20 %")
    column(page, "student").locator(".answer").focus()
    page.keyboard.press("ArrowRight")
    expect(column(page, "student").locator(".told")).to_have_text("“ never” 0.4 %")
    page.get_by_label("Shade by likelihood").uncheck()
    expect(column(page, "student").locator(".told")).to_be_hidden()


def test_a_character_in_several_tokens_is_one_piece(serve: Any, open_page: Any) -> None:
    """Parts of a character have texts of their own, which are nobody's words; what counts is the server's text."""
    parts = [told("", ("\ufffd", math.log(0.5))), told("🙂", ("\ufffd", math.log(0.5))), one(" ok", math.log(0.9))]
    together = told("ab", ("a", math.log(0.9)), ("b", math.log(0.2)))
    bare: Event = {"choices": [{"index": 0, "delta": {"content": "!"}, "logprobs": None, "finish_reason": None}]}
    url, _ = serve({"student": [*parts, together, bare, *end(7)]})
    page = open_page(url)
    page.get_by_label("Shade by likelihood").check()
    ask(page)
    expect(column(page, "student").locator(".state")).to_have_text("finished")
    expect(column(page, "student").locator(".answer")).to_have_text("🙂 okab!")
    assert column(page, "student").locator(".piece").all_text_contents() == ["🙂", " ok", "a", "b", "!"]
    piece(page, "student", "🙂").hover()
    expect(column(page, "student").locator(".told")).to_have_text("“🙂” 25 %")
    assert piece(page, "student", "!").get_attribute("class") == "piece"


def test_events_are_read_wherever_the_bytes_are_cut(serve: Any, open_page: Any) -> None:
    page = open_page(serve({"student": SHORT})[0])
    got = page.evaluate(
        """async () => {
            const { events } = await import("/page/stream.js");
            const sent = ": hello\\r\\n\\r\\ndata: é🙂\\r\\n\\r\\ndata:{}\\ndata: two\\n\\ndata: lost";
            const bytes = new TextEncoder().encode(sent);
            const read = [];
            for (let size = 1; size < 8; size += 1) {
                const body = new ReadableStream({
                    start(out) {
                        for (let at = 0; at < bytes.length; at += size) out.enqueue(bytes.slice(at, at + size));
                        out.close();
                    },
                });
                const found = [];
                for await (const data of events(body)) found.push(data);
                read.push(found);
            }
            return read;
        }"""
    )
    assert got == [["é🙂", "{}\ntwo"]] * 7


# Keys.


def test_a_key_is_asked_for_kept_in_this_tab_and_sent(serve: Any, open_page: Any, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = keys.create(file, "ann")
    url, _ = serve({"student": SHORT}, [Shown("id", "", "Secret task.", "", ())], Door(keys=file))
    page = open_page(url)
    field = page.get_by_label("Key", exact=True)
    expect(field).to_be_focused()
    expect(page.locator("#key-words")).to_contain_text("this server needs a key")
    field.fill("tut-wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#key-words")).to_contain_text("this server needs a key that is valid")
    expect(field).to_be_focused()
    expect(field).to_have_value("")
    field.fill(key)
    page.keyboard.press("Enter")
    expect(page.get_by_label("student")).to_be_checked()
    expect(page.locator("#key")).to_be_hidden()
    ask(page)
    expect(column(page, "student").locator(".state")).to_have_text("finished")
    page.get_by_role("link", name="Answers").click()
    expect(page.get_by_text("Secret task.")).to_be_visible()
    kept_where = "[Object.values(sessionStorage), Object.keys(localStorage), document.cookie]"
    assert page.evaluate(kept_where) == [[key], [], ""]
    assert key not in page.content()
    keys.revoke(file, "ann")
    page.get_by_role("link", name="Compare").click()
    ask(page)
    expect(column(page, "student").locator(".state")).to_contain_text("401: this server needs a key")
    expect(page.locator("#key")).to_be_visible()


# What models write.


def test_markup_of_models_and_judges_is_shown_as_text(serve: Any, open_page: Any) -> None:
    reply = ShownReply(HOSTILE, HOSTILE, HOSTILE)
    judgement = ShownJudgement(HOSTILE, HOSTILE, "win", (reply,))
    row = Shown(HOSTILE, HOSTILE, HOSTILE, HOSTILE, (ShownAnswer(HOSTILE, HOSTILE, (HOSTILE,)),), (judgement,))
    url, _ = serve({HOSTILE: [one(HOSTILE), *end(2)], "no": refused(400, HOSTILE)}, [row])
    page = open_page(url)
    page.get_by_label("Shade by likelihood").check()
    ask(page, HOSTILE)
    expect(column(page, HOSTILE).locator(".state")).to_have_text("finished")
    expect(column(page, HOSTILE).locator(".answer")).to_have_text(HOSTILE)
    column(page, HOSTILE).locator(".piece").hover()
    expect(column(page, HOSTILE).locator(".told")).to_contain_text(HOSTILE)
    expect(column(page, "no").locator(".state")).to_have_text(f"400: {HOSTILE}")
    page.get_by_role("link", name="Answers").click()
    expect(page.locator(".task")).to_have_text(HOSTILE)
    page.locator("summary").click()
    expect(page.locator(".reply .words")).to_have_text(HOSTILE)
    assert page.locator("main img, main script, main [onerror]").count() == 0


# Answers and judgements.


def judged(n: int) -> Shown:
    replies = (ShownReply("small first", "small is better", f"Words {n}."), ShownReply("big first", "a tie", "Even."))
    result: Any = ("win", "loss", "tie", "unscored")[n % 4]
    answers = (ShownAnswer("small", f"small said {n}", ("cut off",)), ShownAnswer("big", f"big said {n}"))
    judgement = ShownJudgement("small", "big", result, replies)
    return Shown(f"id{n}", ("code", "maths")[n % 2], f"Task number {n}.", "", answers, (judgement,))


def places(page: Any) -> list[str]:
    return [place.partition(" ·")[0] for place in page.locator(".row .place").all_text_contents()]


def test_rows_are_filtered_paged_and_walked_through(serve: Any, open_page: Any) -> None:
    page = open_page(serve({"student": SHORT}, [judged(n) for n in range(13)])[0] + "/#answers")
    expect(page.locator("#found")).to_have_text("1 to 10 of 13")
    expect(page.locator("#about")).to_have_text("What was said.")
    first = page.locator(".row").first
    expect(first.locator(".verdict")).to_have_text("✓ small won against big")
    expect(first.locator(".orders")).to_have_text("small first: small is betterbig first: a tie")
    expect(page.locator(".row").nth(1).locator(".verdict")).to_have_text("✗ small lost against big")
    expect(first.get_by_text("Words 0.")).to_be_hidden()
    first.locator("summary").click()
    expect(first.get_by_text("Words 0.")).to_be_visible()

    page.get_by_role("heading", name="Answers").click()
    for _ in range(2):
        page.keyboard.press("j")
    page.keyboard.press("k")
    expect(first).to_be_focused()
    for _ in range(9):
        page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("#found")).to_have_text("11 to 13 of 13")
    expect(page.locator(".row").first).to_be_focused()
    page.keyboard.press("k")
    expect(page.locator("#found")).to_have_text("1 to 10 of 13")
    expect(page.locator(".row").last).to_be_focused()

    page.get_by_label("Category").select_option("maths")
    expect(page.locator("#found")).to_have_text("1 to 6 of 6")
    page.get_by_label("Text").press_sequentially("number 11")  # its letters move nothing
    expect(page.locator("#found")).to_have_text("1 to 1 of 1")
    assert places(page) == ["1 of 1"]
    expect(page.locator(".row .task")).to_have_text("Task number 11.")
    page.get_by_label("Text").fill("nowhere")
    expect(page.locator("#found")).to_have_text("No rows.")
    expect(page.get_by_role("button", name="Next")).to_be_disabled()


def test_a_run_without_answers_says_so(serve: Any, open_page: Any) -> None:
    page = open_page(serve({"student": SHORT})[0] + "/#answers")
    expect(page.locator("#about")).to_have_text("What was said.")
    expect(page.locator("#found")).to_have_text("No rows.")


# People.


def test_the_keyboard_alone_is_enough(serve: Any, open_page: Any) -> None:
    url, models = serve({"teacher": SHORT, "student": SHORT}, [judged(n) for n in range(2)])
    page = open_page(url)
    expect(page.get_by_label("student")).to_be_checked()

    def tab_to(locator: Any) -> None:
        for _ in range(20):
            page.keyboard.press("Tab")
            if locator.evaluate("e => e === document.activeElement"):
                assert locator.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
                return
        raise AssertionError(f"the Tab key does not lead to {locator}")

    tab_to(page.get_by_label("Prompt"))
    page.keyboard.type("Describe the bread.")
    tab_to(page.get_by_label("teacher"))
    page.keyboard.press("Space")
    tab_to(page.get_by_label("Shade by likelihood"))
    page.keyboard.press("Space")
    page.keyboard.press("Control+Enter")
    expect(column(page, "student").locator(".state")).to_have_text("finished")
    assert [asked["model"] for asked in models.asked] == ["student"]
    tab_to(column(page, "student").locator(".answer"))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(column(page, "student").locator(".told")).to_have_text("“.” 95 %")
    page.keyboard.press("ArrowLeft")
    expect(column(page, "student").locator(".told")).to_have_text("“Yes” 95 %")
    tab_to(page.get_by_role("link", name="Answers"))
    page.keyboard.press("Enter")
    expect(page.locator("#found")).to_have_text("1 to 2 of 2")
    page.keyboard.press("j")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Words 0.")).to_be_visible()


def test_answers_are_not_read_out_token_by_token(serve: Any, open_page: Any) -> None:
    page = open_page(serve({"student": SHORT})[0])
    ask(page)
    expect(column(page, "student").locator(".state")).to_have_text("finished")
    live = page.locator(".column [aria-live], .column [role=status], .column [role=alert]")
    assert [each.get_attribute("class") for each in live.all()] == ["told"]
    assert page.locator("#progress").get_attribute("role") == "status"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_runs_over_the_edge_of_a_phone(serve: Any, open_page: Any, scheme: str) -> None:
    long = "w" * 300
    row = Shown(long, long, long, long, (ShownAnswer(long, long, (long,)),), judged(0).judgements)
    url, _ = serve({long: [one(long), *end(2)], "busy": refused(400, long), "student": SHORT}, [row])
    page = open_page(url, viewport={"width": 360, "height": 640}, color_scheme=scheme)
    page.get_by_label("Shade by likelihood").check()
    ask(page, long)
    expect(column(page, "student").locator(".state")).to_have_text("finished")
    wide = "[document.documentElement.scrollWidth, document.body.scrollWidth]"
    assert max(page.evaluate(wide)) <= 360
    lefts = [page.locator(".column").nth(n).bounding_box()["x"] for n in range(3)]
    assert len(set(lefts)) == 1
    page.get_by_role("link", name="Answers").click()
    page.locator("summary").click()
    assert max(page.evaluate(wide)) <= 360
