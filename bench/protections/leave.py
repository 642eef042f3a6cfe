"""What the user alone says (config, trust, approvals), and what is kept of secrets and escapes."""

from __future__ import annotations

from bench.protections.changing import Change, Protection

CONFIG, TRUST, TOLD = "agent/config.py", "agent/trust.py", "agent/instructions.py"
APPROVAL, RULES, WORDS = "agent/approval.py", "agent/rules.py", "agent/shell_words.py"
SECRETS, ASKING, PLAIN = "agent/secrets.py", "agent/asking.py", "tools/plain_text.py"
JOURNAL, RESUME = "agent/journal.py", "agent/resume.py"
TRUSTED, APPROVED = "tests/agent/test_trust.py", "tests/agent/test_approval.py"
NO_LINES = "tests/tui/test_no_escapes.py::test_no_name_makes_a_line_of_its_own"
REWRITTEN = "tests/agent/search/test_rewrite.py::test_nothing_of_the_repositorys_leaves_its_fence_or_its_line"
SPOKEN, MASKED, ESCAPED = (
    "tests/agent/test_shell_words.py", "tests/agent/test_secrets.py", "tests/tools/test_plain_text.py",
)  # fmt: skip

LEAVE = (
    Protection("config in the repository", (
        Change(CONFIG, "(folder))\n    if root is not None and", "(folder))\n    if False and"),
    ), (f"{TRUSTED}::test_settings_in_the_repository_are_refused",)),
    Protection("config by a link into the repository", (
        Change(CONFIG, "real = Path(os.path.realpath(folder))", "real = folder"),
    ), ("tests/agent/test_config_elsewhere.py",)),
    Protection("a file of settings that is a link", (
        Change(CONFIG, "real = Path(os.path.realpath(path))", "real = path"),
    ), ("tests/agent/test_config.py::test_a_file_that_is_a_link_into_the_repository_is_refused",)),
    Protection("trust", (
        Change(TOLD, "if found and not is_trusted(session.workspace.root):", "if False:"),
    ), (f"{TRUSTED}::test_an_untrusted_repository_is_not_listened_to",)),
    Protection("trust: instructions are plain text", (
        Change(TOLD, 'plain(data.decode("utf-8", "replace"))', 'data.decode("utf-8", "replace")'),
    ), (f"{TRUSTED}::test_a_trusted_one_is",)),
    Protection("trust: the fence of instructions", (
        Change(TOLD, "fence=fence_of(content)", 'fence="```"'),
    ), (f"{TRUSTED}::test_a_trusted_one_is",)),
    Protection("a name makes no line of its own on the screen", (
        Change("tui/blocks.py", "{one_line(event.text, 10_000)}", "{event.text}"),
    ), (NO_LINES,)),
    Protection("a reason makes no line of its own", (
        Change("tui/printer.py", "{one_line(event.reason, 10_000)}", "{event.reason}"),
    ), (NO_LINES,)),
    Protection("an error is one line", (
        Change("tui/standard_output.py", '.replace("\\n", " ")', ""),
    ), (NO_LINES,)),
    Protection("refs that cannot be told", (
        Change("agent/left_behind.py", (
            'session.emit(Warn(text=f"Which refs this run moves cannot be told: {problem}"))'
        ), "del problem"),
    ), ("tests/agent/test_left_behind.py::test_that_refs_cannot_be_told_is_said",)),
    Protection("minimising: what the command writes stays in the fork", (
        Change("agent/search/minimise.py", "contents[path] = tried", (
            "contents[path] = await fork.read(path) if await fork.exists(path) else None"
        )),
    ), ("tests/agent/search/test_minimise.py::test_what_the_command_writes_in_the_fork_stays_there",)),
    Protection("rewriting: the fences of what tests and code say", (
        Change("agent/search/rewrite.py", "fence=fence_of(*shown.values())", 'fence="```"'),
    ), (REWRITTEN,)),
    Protection("rewriting: a file's name stays on its line", (
        Change("agent/search/rewrite.py", "file=printable(suspect.file)", "file=suspect.file"),
    ), (REWRITTEN,)),
    Protection("trust: instructions that are huge", (
        Change(TOLD, "if len(data) > MOST_BYTES:", "if False:"),
    ), (f"{TRUSTED}::test_one_that_leads_outside_or_is_huge_is_not_read[huge]",)),
    Protection("images: those of the repository go through the sandbox", (
        Change("agent/pictures.py", "if path.is_relative_to(root):", "if False:"),
    ), (
        "tests/agent/test_pictures.py::test_the_repository_cannot_lead_out_of_itself",
        "tests/agent/test_pictures.py::test_a_link_into_the_repository_does_not_lead_out_again[mine.png]",
    )),
    Protection("approvals: commits and pushes", (
        Change(APPROVAL, "            if rules.commits(wish.command):\n                return",
               "            if False:\n                return"),
    ), (f"{APPROVED}::test_committing_and_pushing_need_one",)),
    Protection("approvals: commands in tier C", (
        Change(APPROVAL, "if self._tier == WEAK_TIER:", "if False:"),
    ), (f"{APPROVED}::test_each_command_needs_one_in_tier_c_and_without_a_sandbox",)),
    Protection("approvals: commands without a sandbox", (
        Change(APPROVAL, 'if self._tier == NO_TIER and self._mode == "ask":', "if False:"),
    ), (f"{APPROVED}::test_each_command_needs_one_in_tier_c_and_without_a_sandbox",)),
    Protection("approvals: read-only", (
        Change(APPROVAL, 'if self._mode == "read-only" and wish.changes:', "if False:"),
    ), (f"{APPROVED}::test_read_only_allows_no_change_whatever_the_rules_say",)),
    Protection("approvals: a rule that denies", (
        Change(APPROVAL, 'if ruled == "deny":', "if False:"),
    ), (f"{APPROVED}::test_a_denying_rule_holds_in_every_mode",)),
    Protection("approvals: the strictest rule", (
        Change(RULES, '= ("deny", "ask", "allow")', '= ("allow", "ask", "deny")'),
    ), (APPROVED,)),
    Protection("approvals: a rule that allows is word for word", (
        Change(RULES, "return begins_with(plain_words(command) or [], prefix)",
               "return names(command, prefix)"),
    ), (f"{APPROVED}::test_an_allowing_rule_spares_the_question",)),
    Protection("approvals: signs that a shell acts on", (
        Change(WORDS, "if _ACTS_ON & set(line) or not", "if not"),
    ), (SPOKEN,)),
    Protection("approvals: signs that are not seen", (
        Change(WORDS, "if _ACTS_ON & set(line) or not line.isprintable():", "if _ACTS_ON & set(line):"),
    ), (SPOKEN,)),
    Protection("approvals: commands in commands", (
        Change(WORDS, "            if shell:\n", "            if False:\n"),
    ), (SPOKEN,)),
    Protection("approvals: lines that go on", (
        Change(WORDS, 'line.replace(_CONTINUED, "")', "line"),
    ), (SPOKEN,)),
    Protection("approvals: git's own options", (
        Change(WORDS, 'if program != "git":', "if True:"),
    ), (SPOKEN,)),
    Protection("approvals: the command as it will run", (
        Change(ASKING, '{where}{visible(command)}")', '{where}{command}")'),
    ), (f"{APPROVED}::test_all_that_would_run_is_shown",)),
    Protection("approvals: what would be written", (
        Change(ASKING, "    return visible(text if", "    return str(text if"),
    ), (f"{APPROVED}::test_all_that_would_be_written_is_shown",)),
    Protection("an interrupted call is not run again", (
        Change(RESUME, "closed = close_open_calls(session, note)", "closed = False"),
    ), ("tests/agent/test_resume.py::test_a_call_without_a_result_is_not_run_again",)),
)  # fmt: skip

SAID = (
    Protection("secrets: known patterns", (
        Change(SECRETS, "for n, (stays, secret) in enumerate(_PATTERNS)", "for n, (stays, secret) in ()"),
        Change(SECRETS, 're.compile("|".join(rf', 're.compile("|".join(["(?!)"]) or "|".join(rf'),
    ), (f"{MASKED}::test_known_secrets_go_and_what_is_around_them_stays",)),
    Protection("secrets: the environment's", (
        Change(SECRETS, "if _NAMES.search(name)}", "if False}"),
    ), (f"{MASKED}::test_values_of_secret_variables",)),
    Protection("secrets: as JSON spells them", (
        Change(SECRETS, "{value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}",
               "{value}"),
    ), (f"{MASKED}::test_values_of_secret_variables",)),
    Protection("secrets: across pieces", (
        Change(SECRETS, "    if not found:\n        return list(", "    if True:\n        return list("),
    ), (f"{MASKED}::test_a_secret_across_pieces_goes_and_the_pieces_stay_as_many",)),
    Protection("secrets: in the journal", (
        Change(JOURNAL, "            return masked(value)\n", "            return value\n"),
    ), ("tests/agent/test_journal.py::test_secrets_are_masked_in_every_record",)),
    Protection("secrets: in what a stream leaves in the journal", (
        Change(JOURNAL, 'masked_pieces([event["text"] for event in held])',
               '[event["text"] for event in held]'),
    ), ("tests/agent/test_journal.py::test_a_secret_that_streams_in_pieces_is_masked",)),
    Protection("escapes: sequences", (
        Change(PLAIN, 'text = _ESCAPE.sub("", text)', "pass"),
    ), (f"{ESCAPED}::test_each_kind_of_sequence",)),
    Protection("escapes: control characters", (
        Change(PLAIN, r'_CONTROL = "\x00-\x08\x0b-\x1f\x7f-\x9f"', r'_CONTROL = "\x00"'),
    ), (ESCAPED,)),
    Protection("escapes: what is not seen", (
        Change(PLAIN, '_UNSEEN = re.compile(f"[{_CONTROL}{_INVISIBLE}]")',
               '_UNSEEN = re.compile(f"[{_CONTROL}]")'),
    ), (ESCAPED,)),
    Protection("escapes: across chunks", (
        Change(PLAIN, "unfinished = _UNFINISHED.search(text)", "unfinished = None"),
    ), (f"{ESCAPED}::test_a_stream_in_any_chunks_says_what_the_whole_says",)),
    Protection("escapes: no two texts are shown alike", (
        Change(PLAIN, "        return found * 2\n", "        return found\n"),
    ), (f"{ESCAPED}::test_no_two_texts_are_shown_alike",)),
    Protection("escapes: what only looks like a space", (
        Change(PLAIN, "|[{_CONTROL}{_INVISIBLE}{_LIKE_SPACE}]", "|[{_CONTROL}{_INVISIBLE}]"),
    ), (f"{ESCAPED}::test_what_is_not_seen_is_made_visible",)),
)  # fmt: skip
