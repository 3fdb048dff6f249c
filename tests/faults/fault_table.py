"""A table of the faults that were tried: what was seen, and whether the test passed. Shown with --fault-table."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

# Topic of each file of tests, in the order of the table.
TOPICS = {
    "kills": ("test_signals", "test_stateful"),
    "disk full, memory": ("test_memory_and_disk",),
    "bad files": (
        *("test_fuzz", "test_image_files", "test_tables", "test_prepare_lists", "test_forecast_inputs"),
        *("test_records", "test_weights", "test_not_a_number"),
    ),
    "wrong configs": ("test_config_values", "test_exit_codes", "test_folder_kinds", "test_json_output"),
    "concurrency": ("test_locks", "test_studies_and_threads"),
    "data changes": ("test_data_changes", "test_folds_and_groups", "test_tiny_project"),
}
WIDTH = 150  # of what was seen
seen: dict[str, str] = {}  # what the last command of a test said, by the test


def note_seen(code: int, out: str, err: str) -> None:
    """Keep what a command of the test that is running ended with: the first that was refused, else the last."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    if not seen.get(test, "exit 0").startswith("exit 0"):
        return
    lines = [line for line in (err or out).splitlines() if line.strip() and not re.search(r"\d/s, ", line)]
    seen[test] = f"exit {code}: {lines[0] if lines else 'nothing said'}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-table", action="store_true", help="show what was seen of each fault")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):  # type: ignore[no-untyped-def]
    report = yield
    if call.when == "call":
        report.user_properties.append(("seen", seen.get(item.nodeid, "")))
    return report


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:  # type: ignore[no-untyped-def]
    if not config.getoption("--fault-table", default=False):
        return
    reports = [
        report
        for outcome in ("passed", "failed", "error")
        for report in terminalreporter.stats.get(outcome, [])
        if "/faults/" in report.nodeid and (report.when == "call" or outcome == "error")
    ]
    topic_of = {name: topic for topic, names in TOPICS.items() for name in names}
    by_topic: dict[str, list] = {topic: [] for topic in (*TOPICS, "other")}
    for report in sorted(reports, key=lambda report: report.location[:2]):
        by_topic[topic_of.get(Path(report.location[0]).stem, "other")].append(report)
    for topic, of_topic in by_topic.items():
        if not of_topic:
            continue
        failed = sum(not report.passed for report in of_topic)
        terminalreporter.write_sep("-", f"{topic}: {len(of_topic)} faults, {failed} not caught")
        for report in of_topic:
            fault = report.nodeid.partition("::")[2].removeprefix("test_").replace("_", " ")
            what = dict(report.user_properties).get("seen", "")
            if not report.passed and report.longreprtext:
                what = report.longreprtext.strip().splitlines()[-1]
            terminalreporter.write_line(f"{'pass' if report.passed else 'FAIL'}  {fault}")
            if what:
                terminalreporter.write_line(f"          {what[:WIDTH]}")
    terminalreporter.write_sep("-", f"{len(reports)} faults, {sum(not report.passed for report in reports)} not caught")
