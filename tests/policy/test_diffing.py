"""What changed between two sets: by @id and part, and as text."""

from __future__ import annotations

from hypothesis import given, settings, strategies as st

from policy.diffing import SetDiff, diff_sets, unified
from policy.reading import SourceFile

BASE = '@id("one") permit (principal is Palyra::User, action, resource) when { principal.active };'


def diff(old: str | list[SourceFile], new: str | list[SourceFile]) -> SetDiff:
    def files(given: str | list[SourceFile]) -> list[SourceFile]:
        return [SourceFile("a.cedar", given)] if isinstance(given, str) else given

    return diff_sets(files(old), files(new))


def parts(old: str, new: str) -> tuple[str, ...]:
    (changed,) = diff(old, new).changed
    return changed.parts


def test_each_part_is_named() -> None:
    assert parts(BASE, BASE.replace("permit", "forbid")) == ("effect",)
    assert parts(BASE, BASE.replace("User", "Agent")) == ("scope",)
    assert parts(BASE, BASE.replace("active }", "mfa }")) == ("condition",)
    assert parts(BASE, BASE.replace("when", "unless")) == ("condition",)
    assert parts(BASE, f'@risk("high") {BASE}') == ("annotations",)
    assert parts(BASE, '@id("one") forbid (principal, action, resource);') == ("effect", "scope", "condition")


def test_values_that_python_calls_equal_differ() -> None:
    number, truth = (BASE.replace("principal.active", f"{value} == 1") for value in ("1", "true"))
    assert parts(number, truth) == ("condition",)


def test_added_and_removed_are_listed_by_id_and_formatted() -> None:
    found = diff(BASE, '@id("two")\npermit(principal,action,resource);')
    assert [one.id for one in found.removed] == ["one"]
    (added,) = found.added
    assert (added.id, added.file) == ("two", "a.cedar")
    assert added.text == '@id("two")\npermit (principal, action, resource);'


def test_layout_comments_and_files_are_no_change_of_a_policy() -> None:
    moved = diff([SourceFile("a.cedar", BASE)], [SourceFile("b.cedar", f"// moved\n{BASE}\n")])
    assert (moved.added, moved.removed, moved.changed) == ((), (), ())
    assert [one.name for one in moved.files] == ["a.cedar", "b.cedar"]
    assert not moved.empty


def test_equal_sets_do_not_differ() -> None:
    assert diff(BASE, BASE) == SetDiff((), (), (), ())
    assert diff(BASE, BASE).empty
    assert diff([], [SourceFile("e.cedar", "")]).files[0].name == "e.cedar"


def test_text_diff_is_unified_and_tells_of_a_missing_newline() -> None:
    (file,) = diff("a\nb\n", "a\nc").files
    assert file.unified == (
        "--- a/a.cedar\n+++ b/a.cedar\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n\\ No newline at end of file\n"
    )


def test_broken_statement_costs_only_itself() -> None:
    found = diff(BASE, f"permit (;\n{BASE.replace('permit', 'forbid')}")
    assert [one.parts for one in found.changed] == [("effect",)]
    assert found.unread == ("a.cedar",)


def test_set_that_is_too_large_is_compared_as_text_only() -> None:
    found = diff(BASE, "// " + "x" * 9_000_000)
    assert found.unread == ("a.cedar",)
    assert found.files


def test_policies_without_id_and_twice_used_ids_are_kept_apart() -> None:
    plain = "permit (principal, action, resource);"
    assert [one.id for one in diff(plain, f"{plain} {plain}").added] == ["(a.cedar #2)"]
    assert [one.id for one in diff(BASE, f"{BASE} {BASE}").added] == ["one(a.cedar #2)"]


def test_tests_of_a_set_appear_in_the_text_diff_only() -> None:
    found = diff([], [SourceFile("a.test.json", "[]")])
    assert (found.added, [one.name for one in found.files]) == ((), ["a.test.json"])


def test_huge_texts_without_anything_in_common_are_shown_as_replaced() -> None:
    old = "".join(f"{number % 7}\n" for number in range(60_000))
    new = "".join(f"{number % 5}x\n" for number in range(60_000))
    text = unified(old, new, "a.cedar")
    assert text.startswith("--- a/a.cedar\n+++ b/a.cedar\n@@ -1,60000 +1,60000 @@\n-0\n")


def apply(before: str, diff_text: str) -> str:
    """Apply a unified diff, as `patch` would."""
    old = before.split("\n")
    out: list[str] = []
    at = 0
    lines = diff_text.split("\n")
    for number, line in enumerate(lines[2:-1], start=2):
        if line.startswith("@@"):
            start, _, count = line.split()[1][1:].partition(",")
            begin = int(start) - (count != "0")
            out.extend(old[at:begin])
            at = begin
        elif line.startswith(("+", " ")):
            bare = lines[number + 1].startswith("\\") if number + 1 < len(lines) else False
            out.append(line[1:] + ("\0" if bare else ""))
            at += line.startswith(" ")
        elif line.startswith("-"):
            at += 1
    return "\n".join([*out, *old[at:]]).replace("\0\n", "").replace("\0", "")


WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "x\r", "\x0c", "\u2028"]), max_size=12)


@settings(max_examples=150, deadline=None)
@given(WORDS, WORDS, st.sampled_from([0, 4_000]))
def test_applying_the_diff_gives_the_new_text(old: list[str], new: list[str], most: int) -> None:
    before, after = ("".join(f"{word}\n" for word in words) for words in (old, new))
    assert before == after or apply(before, unified(before, after, "a.cedar", most=most)) == after
