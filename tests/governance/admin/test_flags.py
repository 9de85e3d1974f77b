"""Feature flags in the console: the tree, the switch, and who gets a feature."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client

from governance.admin.flag_words import audience, depth_of, reached, tree_order, why_off
from governance.journal.models import JournalEvent
from identity.access import FEATURES, FlagSetting, FlagVerdict, Registry, Stage
from identity.flag_views import FlagView
from identity.models import FeatureFlag, FeatureFlagChange, User, Workspace
from tests.governance.admin.world import World, code_now, sign_in

REASON = "asked for in a test"
FRESH, OLD = timedelta(minutes=1), timedelta(hours=1)


class FlagPage:
    """The page of one flag as one person sees it."""

    def __init__(self, client: Client, key: str) -> None:
        self.client, self.key = client, key
        self.path = f"/admin/flags/{key}/"
        self.html = client.get(self.path).content.decode()

    def send(self, verb: str, **values: object) -> str:
        """Post a form of the page, and return the page that follows."""
        self.sent = self._hidden(verb) | {"reason": REASON} | values
        return self.post(verb)

    def post(self, verb: str) -> str:
        """Post once more what was sent last."""
        answer = self.client.post(f"{self.path}{verb}/", self.sent)
        self.status = answer.status_code
        return (self.client.get(self.path) if answer.status_code == 302 else answer).content.decode()

    def _hidden(self, verb: str) -> dict[str, object]:
        form = self.html.partition(f'action="{self.path}{verb}/"')[2].partition("</form>")[0]
        assert form, f"{verb} is not offered"
        return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))


def page(person: User, key: str, *, age: timedelta = FRESH) -> FlagPage:
    return FlagPage(sign_in(person, code_age=age), key)


def is_on(key: str) -> bool:
    row = FeatureFlag.objects.filter(pk=key).first()
    return row.enabled if row else FEATURES[key].enabled


def test_the_tree_shows_every_flag_under_the_one_it_needs(world: World) -> None:
    html = sign_in(world.viewer).get("/admin/flags/").content.decode()
    order = re.findall(r'class="tree d(\d)"><a class="lead" href="/admin/flags/(\w+)/"', html)
    assert [key for _, key in order] == list(tree_order())
    assert {key: int(depth) for depth, key in order}["compat_tools_invoke"] == 2
    assert "Only for: owners and admins." in html


def test_owners_see_what_a_flag_means_for_them_and_its_history(world: World) -> None:
    html = page(world.owner, "compat_api").html
    assert "On here" in html
    assert "The demonstration uses it." in html
    assert "History" not in page(world.viewer, "compat_api").html


def test_a_viewer_is_told_why_nothing_can_be_changed(world: World) -> None:
    html = page(world.viewer, "compat_api").html
    assert "rollout.manage" not in re.findall(r"<form[^>]*flags[^>]*>", html)
    assert "Your roles do not include rollout.manage" in html
    client = sign_in(world.viewer, code_age=FRESH)
    values = {"to": "off", "reason": REASON, "version": "1", "intent": "0" * 32}
    assert client.post("/admin/flags/compat_api/switch/", values).status_code == 403
    assert is_on("compat_api")
    assert JournalEvent.objects.filter(type="request.refused", subject="compat_api").count() == 1


@pytest.mark.parametrize("name", ["admin", "operator", "approver", "auditor", "viewer"])
@pytest.mark.parametrize("verb", ["switch", "audience"])
def test_only_an_owner_of_the_instance_changes_anything(world: World, name: str, verb: str) -> None:
    client = sign_in(world.people[name], code_age=FRESH)
    values = {"to": "off", "stage": "lab", "percent": "1", "reason": REASON, "version": "1"}
    path = f"/admin/flags/compat_api/{verb}/"
    assert client.post(path, values | {"intent": "0" * 32}).status_code == 403
    assert FeatureFlagChange.objects.filter(key="compat_api").count() == 1


@pytest.mark.parametrize("path", ["", "mcp/"])
def test_a_stranger_finds_the_door(world: World, path: str) -> None:
    answer = sign_in(world.stranger).get(f"/admin/flags/{path}")
    assert (answer.status_code, answer["Location"].partition("?")[0]) == (302, "/admin/login/")


def test_a_switch_counts_once_and_says_so(world: World) -> None:
    form = page(world.owner, "compat_api")
    text = form.send("switch")
    assert form.status == 302
    assert "compat_api is off from the next request on." in text
    assert not is_on("compat_api")
    form.post("switch")
    assert FeatureFlagChange.objects.filter(key="compat_api").count() == 2
    again = page(world.owner, "compat_api")
    again.send("switch")
    assert is_on("compat_api")
    assert FeatureFlagChange.objects.filter(key="compat_api", reason=REASON).count() == 2


def test_an_old_code_asks_for_a_new_one(world: World) -> None:
    form = page(world.owner, "compat_api", age=OLD)
    assert 'name="code"' in form.html
    text = form.send("switch")
    assert form.status == 401
    assert "needs a one-time code" in text
    assert is_on("compat_api")
    form.send("switch", code=code_now())
    assert form.status == 302
    assert not is_on("compat_api")


def test_a_wrong_code_changes_nothing_and_keeps_what_was_typed(world: World) -> None:
    form = page(world.owner, "compat_api", age=OLD)
    text = form.send("switch", code="000000", reason="a reason to be kept")
    assert form.status == 401
    assert "a reason to be kept" in text
    assert is_on("compat_api")


def test_dependants_are_named_and_fall_only_by_consent(world: World) -> None:
    form = page(world.owner, "api_tokens")
    assert "These go off too and do not come back by themselves: compat_api." in form.html
    text = form.send("switch")
    assert form.status == 409
    assert "compat_api would go off too" in text
    assert is_on("api_tokens")
    form = page(world.owner, "api_tokens")
    assert "With it: compat_api." in form.send("switch", cascade="yes")
    assert not is_on("compat_api")


def test_a_dependency_that_is_off_is_named(world: World) -> None:
    page(world.owner, "compat_api").send("switch")
    form = page(world.owner, "compat_embeddings_api")
    text = form.send("switch")
    assert form.status == 409
    assert "compat_embeddings_api needs compat_api, which is off." in text


def test_a_flag_that_changed_meanwhile_is_looked_at_again(world: World) -> None:
    mine, theirs = page(world.owner, "compat_api"), page(world.owner, "compat_api")
    theirs.send("switch")
    text = mine.send("switch")
    assert mine.status == 412
    assert "The flag changed while this page was open" in text
    assert not is_on("compat_api")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"reason": "short"}, "8 to 200 characters"),
        ({"to": "maybe"}, "Choose on or off."),
        ({"version": "many"}, "The flag changed while this page was open"),
        ({"intent": "x"}, "The form is not complete"),
    ],
)
def test_what_makes_no_sense_is_refused(world: World, values: dict[str, str], said: str) -> None:
    form = page(world.owner, "compat_api")
    assert said in form.send("switch", **values)
    assert form.status in (412, 422)
    assert is_on("compat_api")


def test_the_audience_is_changed_as_a_whole(world: World) -> None:
    form = page(world.owner, "compat_api")
    places = [world.workspace.pk, Workspace.objects.get(slug="instance").pk]
    assert "Who gets this feature was changed." in form.send(
        "audience", stage="pilot", percent="50", workspaces=places
    )
    row = FeatureFlag.objects.get(pk="compat_api")
    assert (row.stage, row.percent, row.workspaces, row.enabled) == ("pilot", 50, sorted(places), True)
    shown = page(world.owner, "compat_api")
    assert shown.html.count('name="workspaces"') == shown.html.count(" checked") == 2
    listed = sign_in(world.owner).get("/admin/flags/").content.decode()
    assert "Chosen workspaces, in 50 % of the workspaces" in listed
    assert "On for a part of the workspaces, and staged_rollout is off." in listed
    shown.send("audience", stage="general", percent="100")
    assert FeatureFlag.objects.get(pk="compat_api").workspaces == []


@pytest.mark.parametrize(
    "values",
    [
        {"stage": "everybody", "percent": "50"},
        {"stage": "pilot", "percent": "101"},
        {"stage": "pilot", "percent": "-1"},
        {"stage": "pilot", "percent": "half"},
        {"stage": "pilot", "percent": "\N{ARABIC-INDIC DIGIT FIVE}"},
        {"stage": "pilot", "percent": "5", "workspaces": ["wsp_nowhere\0"]},
    ],
)
def test_an_audience_that_makes_no_sense_is_refused(world: World, values: dict[str, object]) -> None:
    form = page(world.owner, "compat_api")
    form.send("audience", **values)
    assert form.status == 422
    assert FeatureFlag.objects.get(pk="compat_api").stage == "admin_only"


def test_switches_of_the_whole_instance_offer_no_audience(world: World) -> None:
    form = page(world.owner, "rbac")
    assert "audience/" not in form.html
    answer = form.client.post(
        "/admin/flags/rbac/audience/",
        {"stage": "lab", "percent": "50", "reason": REASON, "version": "0", "intent": "0" * 32},
    )
    assert answer.status_code == 422


def test_safe_mode_is_said_on_top_and_ended_from_here(world: World) -> None:
    page(world.owner, "rbac").send("switch", cascade="yes")
    html = sign_in(world.owner).get("/admin/flags/").content.decode()
    assert "Safe mode" in html
    assert sign_in(world.approver).get("/admin/approvals/").status_code == 403
    page(world.owner, "rbac").send("switch")
    assert sign_in(world.approver).get("/admin/approvals/").status_code == 200


@pytest.mark.parametrize("path", ["no_such_flag/", "no_such_flag/switch/", "COMPAT_API/"])
def test_an_unknown_flag_is_no_page(world: World, path: str) -> None:
    client = sign_in(world.owner, code_age=FRESH)
    send = client.post if "switch" in path else client.get
    assert send(f"/admin/flags/{path}").status_code == 404


def test_a_verb_is_never_a_page_to_look_at(world: World) -> None:
    assert sign_in(world.owner).get("/admin/flags/mcp/switch/").status_code == 405


def view(setting: FlagSetting, reason: str = "enabled", dependency: str | None = None) -> FlagView:
    here = FlagVerdict(reason == "enabled", reason, dependency)
    return FlagView(FEATURES["mcp"], setting, (), (), here, 1, None)


def test_words_say_why_a_feature_is_off() -> None:
    on = FlagSetting(True, Stage.LAB, 25)
    staged = Registry({"staged_rollout": FlagSetting(True, Stage.GENERAL)})
    assert why_off(view(on), staged) == ""
    assert why_off(view(on, "flag_off"), staged) == "Switched off."
    assert why_off(view(on, "dependency_off", "rbac"), staged) == "Needs rbac, which is off here."
    assert why_off(view(on, "stage_excluded"), staged) == "Only for: owners of the instance."
    assert why_off(view(on, "rollout_excluded"), staged) == "This workspace is not among the 25 %."
    assert "staged_rollout is off" in why_off(view(on, "rollout_excluded"), Registry())
    assert audience(view(on)) == "Owners of the instance, in 25 % of the workspaces"


def test_the_reach_of_a_rollout_is_counted() -> None:
    places = [f"wsp_{number}" for number in range(200)]
    assert reached(view(FlagSetting(True, Stage.GENERAL, 0)), places) == 0
    assert reached(view(FlagSetting(True, Stage.GENERAL, 100)), places) == 200
    assert reached(view(FlagSetting(True, Stage.PILOT, 100, frozenset(places[:3]))), places) == 3
    assert 70 < reached(view(FlagSetting(True, Stage.GENERAL, 50)), places) < 130


def test_the_tree_holds_each_flag_once() -> None:
    assert sorted(tree_order()) == sorted(FEATURES)
    assert {key for key in FEATURES if depth_of(key) == 2} == {"compat_embeddings_api", "compat_tools_invoke"}
