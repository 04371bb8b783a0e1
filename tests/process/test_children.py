"""Modules that run in a process of their own: what they answer, and how their end reaches the caller."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import BadInput, one_line
from retrieval.process import children
from retrieval.process.children import ChildFailed

CHILD = "tests.process.child"


def test_an_answer_comes_back_as_it_was_given() -> None:
    files = [b"", b"\n", bytes(range(256)) * 1000]
    facts, back = children.ask(CHILD, {"do": "echo", "name": "näher\n"}, files)
    assert (facts, back) == ({"do": "echo", "name": "näher\n"}, files)


@settings(max_examples=200)
@given(st.dictionaries(st.text(), st.integers() | st.text()), st.lists(st.binary()))
def test_a_message_is_read_as_it_was_written_and_never_in_part(facts: dict[str, object], files: list[bytes]) -> None:
    message = b"".join(children._packed(facts, files))
    assert children._unpacked(io.BytesIO(message)) == (facts, files)
    for end in range(len(message)):
        with pytest.raises(ValueError):  # noqa: PT011 - of JSON or of our own
            children._unpacked(io.BytesIO(message[:end]))


def test_an_error_of_ours_is_raised_again_with_its_hint_and_the_traceback() -> None:
    with pytest.raises(BadInput, match="this cannot be used") as raised:
        children.ask(CHILD, {"do": "refuse"})
    assert raised.value.hint == "use another one"
    assert "child.py" in raised.value.__notes__[0]


def test_another_error_is_a_failure_whose_reason_is_one_line() -> None:
    with pytest.raises(ChildFailed) as raised:
        children.ask(CHILD, {"do": "fail"})
    assert str(raised.value) == "a problem of two lines"
    assert "ZeroDivisionError" in raised.value.__notes__[0]


@pytest.mark.parametrize(("do", "reason"), [("die", "ended by the signal SIGKILL"), ("exit", "exit code 3")])
def test_a_child_that_ends_without_an_answer_is_a_failure(do: str, reason: str) -> None:
    with pytest.raises(ChildFailed, match=reason):
        children.ask(CHILD, {"do": do})


def test_what_a_child_prints_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    assert children.ask(CHILD, {"do": "print"}) == ({}, [])
    out, errors = capfd.readouterr()
    assert out == ""
    assert set(errors.splitlines()) == {"printed by a library", "written by native code"}


def test_what_a_child_leaves_behind_is_deleted() -> None:
    facts, _ = children.ask(CHILD, {"do": "leave a file"})
    assert not Path(facts["path"]).exists()


def test_settings_reach_the_child_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A_SETTING", raising=False)
    facts, _ = children.ask(CHILD, {"do": "surroundings"}, environment={"A_SETTING": "1"})
    assert facts["value"] == "1"
    assert "A_SETTING" not in os.environ


def test_a_file_in_the_current_folder_takes_the_place_of_no_module(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "tempfile.py").write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    assert children.ask(CHILD, {"do": "echo"})[0] == {"do": "echo"}


def test_without_room_for_temporary_files_it_fails_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/gone")
    with pytest.raises(ChildFailed, match="No such file or directory"):
        children.ask(CHILD, {"do": "echo"})


def test_an_error_of_a_library_is_told_without_the_codes_of_a_terminal() -> None:
    assert one_line(ValueError("a \x1b[1mbold\x1b[0m word.\nAnd more")) == "a bold word"
    assert one_line(KeyError()) == "KeyError"


def test_with_stderr_closed_it_answers_all_the_same() -> None:
    code = "from retrieval.process import children; print(children.ask('tests.process.child', {'do': 'print'}))"
    done = subprocess.run(["sh", "-c", f'exec "{sys.executable}" -c "$0" 2>&-', code], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"({}, [])\n")


def test_places_of_modules_may_have_colons(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a:b").mkdir()
    (tmp_path / "a:b" / "from_there.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path / "a:b")
    assert os.fspath(tmp_path / "a:b") in children._search_path()
    assert children.ask(CHILD, {"do": "echo"})[0] == {"do": "echo"}


def test_a_child_whose_caller_is_killed_ends_without_a_word(tmp_path: Path) -> None:
    code = (
        "from retrieval.process import children; print('ready', flush=True); children.ask('tests.process.sleeper', {})"
    )
    with (tmp_path / "errors").open("wb") as errors:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout is not None
        process.stdout.readline()
        task = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not (found := task.read_text().split()):
            time.sleep(0.01)
        time.sleep(0.5)  # until it waits for the answer
        process.kill()
        process.communicate()
        while Path(f"/proc/{found[0]}").exists() and Path(f"/proc/{found[0]}/stat").read_text().split()[2] != "Z":
            time.sleep(0.01)
    assert (tmp_path / "errors").read_bytes() == b""


def test_without_a_python_it_fails_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/gone/python")
    with pytest.raises(ChildFailed, match="cannot be started: No such file or directory"):
        children.ask(CHILD, {"do": "echo"})


def test_ctrl_c_ends_both_processes_and_only_the_parent_speaks() -> None:
    code = (
        "from retrieval.process import children; print('ready', flush=True); children.ask('tests.process.sleeper', {})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.5)  # until the child has started, or nearly
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert errors.count(b"KeyboardInterrupt") == 1
    assert process.returncode == -signal.SIGINT
