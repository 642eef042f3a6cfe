from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.search.patch_hunks import parse_patch, split_hunk, without

DIFF = """\
diff --git a/a.py b/a.py
index 1..2 100644
--- a/a.py
+++ b/a.py
@@ -1,4 +1,4 @@
-one
+ONE
 two
-three
+THREE
 four
diff --git a/new.py b/new.py
new file mode 100644
--- /dev/null
+++ b/new.py
@@ -0,0 +1 @@
+x
diff --git a/pic.png b/pic.png
index 1..2 100644
GIT binary patch
literal 3
abc

literal 1
abc

diff --git "a/\\303\\244 b.py" "b/\\303\\244 b.py"
--- "a/\\303\\244 b.py"
+++ "b/\\303\\244 b.py"
@@ -1 +1 @@
-a
\\ No newline at end of file
+b
\\ No newline at end of file
"""


def test_files_of_a_diff():
    files = parse_patch(DIFF)

    assert [file.path for file in files] == ["a.py", "new.py", "pic.png", "ä b.py"]
    assert [len(file.hunks) for file in files] == [1, 1, 0, 1]
    assert files[1].created and not files[0].created


def test_a_hunk_is_split_into_its_changes():
    (hunk,) = parse_patch(DIFF)[0].hunks
    parts = split_hunk(hunk)

    assert [part.lines for part in parts] == [("-one", "+ONE"), ("-three", "+THREE")]
    new = "ONE\ntwo\nTHREE\nfour\n"
    assert without(new, parts, set()) == new
    assert without(new, parts, {0}) == "one\ntwo\nTHREE\nfour\n"
    assert without(new, parts, {1}) == "ONE\ntwo\nthree\nfour\n"
    assert without(new, parts, {0, 1}) == "one\ntwo\nthree\nfour\n"


def test_a_missing_newline_at_the_end_stays_missing():
    parts = split_hunk(parse_patch(DIFF)[3].hunks[0])
    assert without("b", parts, {0}) == "a"


def test_a_text_that_is_not_the_patchs_is_refused():
    parts = split_hunk(parse_patch(DIFF)[0].hunks[0])
    with pytest.raises(ValueError, match="hunk 1"):
        without("other\n", parts, set())


def test_a_torn_patch_is_refused():
    with pytest.raises(ValueError, match="ends before"):
        parse_patch(DIFF[: DIFF.index(" four")])


lines = st.lists(st.sampled_from("abcde"), max_size=12)


@settings(max_examples=25, deadline=None)
@given(old=lines, new=lines, ends=st.tuples(st.booleans(), st.booleans()), seed=st.integers(0, 99))
def test_any_diff_of_git_can_be_taken_back_in_part(tmp_path_factory, old, new, ends, seed):
    before = "\n".join(old) + ("\n" if old and ends[0] else "")
    after = "\n".join(new) + ("\n" if new and ends[1] else "")
    folder = tmp_path_factory.mktemp("diff")
    diff = git_diff(folder, before, after)
    files = parse_patch(diff)
    if not files:
        assert before == after
        return
    parts = [part for hunk in files[0].hunks for part in split_hunk(hunk)]

    assert without(after, parts, set(range(len(parts)))) == before
    some = {n for n in range(len(parts)) if random.Random(seed).random() < 0.5}
    partly = without(after, parts, some)
    rest = git_diff(folder, partly, after)
    assert (rest == "") == (partly == after)


def git_diff(folder: Path, before: str, after: str) -> str:
    (folder / "old").write_text(before)
    (folder / "new").write_text(after)
    command = ["git", "diff", "--no-index", "--no-color", "old", "new"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout
