"""What can go wrong, and the test that makes it go wrong for real.

A row is a fault, the exit code (2 usage, 3 bad data, 4 the server, 5 measured but not as hoped, 130
interrupted; or the run goes on) and what is said or done; below it the tests, those of this file
without its name.

server dies in mid-episode: goes on; episode dropped, server restarted
    test_serving::test_an_episode_that_the_server_died_in_is_measured_again
    test_handover::test_a_kept_server_that_dies_or_hangs_in_mid_episode_is_replaced
server keeps dying: 4
    test_serving::test_a_server_that_keeps_dying_is_given_up
a command that cannot continue the journal: 2; no server is started, restarted or left
    test_service::test_a_refused_command_leaves_no_server
a trial whose requests are late or fail: goes on; stopped, shunned, the kept one serves the rest
    test_guard::test_the_promise_holds_at_every_moment
    test_guard::test_what_crashed_or_was_worse_never_serves_again
    test_handover::test_a_bad_trial_is_stopped_and_the_kept_configuration_returns
    test_handover::test_a_trial_is_stopped_by_the_requests_of_others_alone
a trial that crashes: goes on; counted, shunned, also after the run was continued
    test_guard::test_an_incumbent_that_fails_in_the_rest_of_an_episode_is_shunned_too
    test_guard::test_a_guarded_run_that_was_killed_ends_as_the_one_that_was_not
    test_handover::test_a_trial_that_dies_takes_nobody_with_it
    test_data_path::test_what_a_trial_loses_is_answered_by_the_kept_server
the default itself fails, or answers nothing: 4; status and the server's text
    test_guard::test_a_default_that_fails_is_the_servers_fault
    test_guard::test_a_server_that_answers_nothing_names_the_status_and_its_words
the server that is kept ready dies beside a trial: goes on; the trial serves until it is back
    test_handover::test_a_kept_server_that_dies_during_a_trial_is_started_again_and_the_trial_serves
a batch that is too small for a request: goes on, or 2; never tried, answered by the kept one
    test_cli::test_a_batch_must_hold_the_largest_request
    test_data_path::test_what_a_trial_refuses_is_answered_by_the_kept_server
    test_service::test_no_client_notices_trials_that_refuse_or_how_the_tuner_ends
tuning at a port ends, is interrupted or killed: the service goes on; how to stop it
    test_service::test_no_client_notices_trials_that_refuse_or_how_the_tuner_ends
    test_handover::test_the_next_tuner_goes_on_with_the_service_and_another_one_is_refused
    test_launcher::test_a_detached_server_outlives_its_parent_and_follows_the_operator
disk full during a tuning at a port: 3; at once, and the default goes on
    test_service::test_a_full_disk_is_said_at_once_and_no_client_notices
the server that is to stay does not start: goes on; the one that serves stays
    test_staying::test_what_serves_goes_on_if_the_kept_one_does_not_start
SIGTERM or SIGHUP while a service is given over or returned: goes on, then 130
    test_staying::test_who_closes_the_terminal_meanwhile_does_not_end_the_service
no verdict yet: the default is to deploy, with its flags
    test_operate::test_what_is_not_better_is_not_deployed
    test_sequential::test_any_number_of_rounds_has_a_result
another model, server or machine: 2, or goes on and is noted
    test_operate::test_another_machine_is_noted_and_another_model_is_refused
fewer episodes than were made: 2; give as many or more
    test_guard::test_more_episodes_and_rounds_may_be_asked_for_later
slow start: 4; --start-timeout, and a log that stays
    test_launcher::test_a_slow_start_names_its_option_and_a_log_that_stays
    test_launcher::test_the_log_of_a_crash_stays
original server with a REST port: goes on; what other machines can reach
    test_launcher::test_what_the_original_exposes_at_its_rest_port_is_said
another run on this machine: 2 for a recording, a warning otherwise
    test_launcher::test_a_recording_does_not_begin_beside_a_run_until_that_ends
    test_launcher::test_a_lock_is_not_taken_through_a_link
folders of killed runs: removed at the next start
    test_launcher::test_the_folders_of_killed_runs_go_and_those_of_living_ones_stay
    test_launcher::test_only_what_is_ours_and_abandoned_is_removed
files half written by killed runs: removed by the next run
    test_launcher::test_what_killed_runs_left_half_written_goes_and_that_of_living_ones_stays
    test_journal::test_what_a_kill_left_of_an_atomic_write_is_removed
sender of the requests dies: 4
    test_volley::test_that_dies_during_an_episode_is_reported_in_one_line
a fault at any write, rename or process start: goes on; same bytes, a server that serves
    test_a_killed_simulated_run_ends_as_if_never_killed
    test_injected::test_a_fault_at_every_place_of_a_run
two runs in one folder: 2
    test_recording::test_a_second_recording_in_one_folder_says_so_and_touches_nothing
new configuration does not start: 4; the old one serves on
    test_handover::test_a_configuration_that_cannot_start_never_takes_over
wrong model name: 4; give the name it was started with
    test_serving::test_wrong_model_is_not_found
wrong signature: 4; it has: ...
    test_own_model::test_a_wrong_signature_costs_no_start_and_can_be_corrected
wrong input: 4; the model needs: ...
    test_a_sample_that_does_not_fit_is_refused
port taken: 4
    test_serving::test_taken_port_is_refused
    test_data_path::test_a_taken_port_is_refused_and_no_envoy_is_explained
REST request that is wrong or too large: 400 and others; one line of JSON
    test_model_server::test_rest_refuses_with_the_status_of_the_original
    test_rest::test_a_body_that_is_too_large_is_refused_before_it_is_sent
    test_rest::test_a_packed_body_takes_no_more_memory_than_is_allowed
queue full, deadline passed: goes on; counted as failures
    test_serving::test_full_queue_is_unavailable_and_counted
    test_serving::test_passed_deadline_is_counted
    test_operate::test_failed_requests_break_the_slo
large message: goes on; no limit
    test_handover::test_errors_and_deadlines_pass_through
unknown flag: 4
    test_serving::test_unknown_flag_is_refused
    test_any_knob::test_a_flag_that_the_server_does_not_know_ends_its_start
    test_any_knob::test_mistakes_end_with_one_line
bad name or level of a flag, a variable or the CPUs; more CPUs than there are: 2
    test_any_knob::test_mistakes_end_with_one_line
no model version: 3
    test_serving::test_missing_model_folder
parent killed: goes on; server dies too
    test_preloaded::test_servers_die_with_the_process_that_forked_them_and_its_owner
binary absent: 2
    test_serving::test_unknown_executable
late load generator: 4; 5 invalid episodes in a row, and no configuration is blamed
    test_guard::test_a_late_generator_shuns_nobody_and_ends_the_run
    test_operate::test_rounds_that_are_always_invalid_are_given_up
misspelt option, bad number: 2
    test_cli::test_mistakes_end_with_one_line
    test_bad_input::test_a_number_that_cannot_be_is_refused
option without effect: 2; leave it out
    test_bad_input::test_an_option_without_effect_is_refused
unknown agent, knob, source: 2; known: ...
    test_cli::test_mistakes_end_with_one_line
bad SLO: 2
    test_operate::test_what_is_no_slo_is_refused
bad CSV table: 3; line and value
    test_bad_input::test_a_bad_table_is_one_line
    test_bad_input::test_na_is_text_among_texts_and_a_number_among_texts_can_be_the_default
    test_bad_input::test_text_in_a_column_named_like_a_knob_loses_no_report
    test_cli::test_a_bad_table_is_refused_with_line_and_value
sample larger than its file, request larger than its message: 3, INVALID_ARGUMENT; the limit
    test_bad_input::test_a_sample_takes_no_more_memory_than_it_is_worth
    test_bad_input::test_a_request_takes_no_more_memory_than_it_sends
bad sample file: 3
    test_a_bad_sample_file_is_refused
bad trace: 3
    test_bad_input::test_a_bad_trace_is_one_line
    test_workload::test_a_bad_trace_is_refused_with_line_and_value
trace too short: 2
    test_cli::test_a_trace_that_is_too_short_says_what_to_do
damaged or changed profile: 3; restore it
    test_bad_input::test_a_description_that_is_none_is_refused
    test_bad_input::test_a_cell_that_is_no_number_is_named
    test_bad_input::test_changed_episodes_are_refused_with_the_remedy
    test_bad_input::test_an_incomplete_profile_is_not_replayed
    test_profile::test_damaged_episodes_are_refused_by_name
    test_profile::test_another_schema_and_a_missing_file
contradicting batching parameters: 2
    test_batching::test_bad_files
SLO missed: 5
    test_cli::test_a_missed_slo_is_five
SIGINT, SIGTERM, SIGHUP: 130; journal kept, server stopped, temporary folders removed
    test_an_interrupted_run_is_kept_and_says_so
    test_bad_input::test_a_signal_ends_a_live_run_cleanly
    test_bad_input::test_a_terminal_that_is_closed_interrupts
    test_bad_input::test_nohup_keeps_its_word
    test_a_killed_live_run_leaves_no_server_and_goes_on
    test_reproduce::test_an_interrupted_run_stops_its_kernel_and_leaves_nothing_half_written
SIGKILL: goes on; resumed, same bytes
    test_a_killed_simulated_run_ends_as_if_never_killed
    test_a_killed_live_run_leaves_no_server_and_goes_on
power loss in the last line: goes on
    test_journal::test_every_cut_of_the_last_line_is_recovered
no journal: 3; line 1
    test_bad_input::test_a_file_that_is_no_journal_is_left_alone
    test_bad_input::test_a_journal_without_its_first_line_is_refused
damaged journal: 3; line
    test_journal::test_a_damaged_earlier_line_is_named
two runs on one journal: 2
    test_journal::test_a_second_run_says_so_and_stops
two `make reproduce`: 2
    test_reproduce::test_a_second_run_says_so_and_stops
file size limit: 3
    test_a_full_disk_keeps_what_was_there
full disk: 3
    test_a_really_full_disk
a reader of the output that has seen enough: goes on; the result is stored
    test_screen::test_a_reader_of_the_progress_that_has_seen_enough_does_not_end_the_run
    test_errors::test_a_reader_that_has_seen_enough_is_no_error
full disk during the figure: 3; result printed and stored
    test_bad_input::test_a_figure_without_room_hides_no_result_and_spares_the_old_one
    test_bad_input::test_a_really_full_disk_hides_no_result
read-only folder: 3
    test_a_read_only_folder
kernel dies, endless cell: 5
    test_reproduce::test_a_failure_names_notebook_and_cell_and_keeps_the_last_good_copy

``RRL_KILLS=50 RRL_LIVE_KILLS=10 pytest -k killed``, run in `tests/`, kills as often as that; the
second kill of a live run is a SIGINT.
"""

from __future__ import annotations

import ast
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from probe import build_probe

from rrl.operating.journal import JOURNAL
from rrl.serving.sample import fit, read_sample
from rrl.support.errors import DataError, ServerError

HERE = Path(__file__).parent
ROOT = HERE.parent
KILLS = int(os.environ.get("RRL_KILLS", "1"))
LIVE_KILLS = int(os.environ.get("RRL_LIVE_KILLS", "1"))
RRL = [sys.executable, "-m", "rrl.cli"]
SIMULATED = [
    *RRL, "replay", "cpu2", "--rate", "115", "--requests", "30", "--rounds", "10",
    "--slo", "p99<60ms", "--agent", "rrl", "--quiet", "--json",
]  # fmt: skip


ROWS = re.findall(r"(?m)^(\S.*): .*\n((?:    test_\S+\n)+)", __doc__)


@cache
def functions(file):
    """The functions of a test file, by name."""
    tree = ast.parse((HERE / f"{file}.py").read_text(encoding="utf-8"))
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def is_long(named):
    """Whether the test `file::name`, or `name` in this file, is left to `make test-long`."""
    file, _, name = named.rpartition("::")
    marks = functions(file or "test_faults")[name].decorator_list
    return "pytest.mark.long" in map(ast.unparse, marks)


@pytest.mark.parametrize(("fault", "named"), ROWS, ids=[fault for fault, _ in ROWS])
def test_every_row_names_tests_that_exist_and_one_that_is_not_long(fault, named):
    assert not all([is_long(one) for one in named.split()]), fault


def test_every_row_is_read():
    rows = __doc__.count("\n    test_")
    assert sum(len(named.split()) for _, named in ROWS) == rows > 30


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, **options)


def one_line(done, code):
    """The line that a command ended with."""
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("rrl: ")
    return done.stderr


def lines_of(folder):
    """The whole lines of a journal that may not be there yet."""
    try:
        return (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []


def kill_when(process, folder, count, wait_s, number=signal.SIGKILL):
    """Send a signal some time after the journal has reached so many lines."""
    deadline = time.monotonic() + 120
    while len(lines_of(folder)) < count:
        assert process.poll() is None, f"it ended early: {process.communicate()}"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(wait_s)
    assert process.poll() is None, "it had finished"
    process.send_signal(number)
    return process.communicate()


# --- killed ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A run that nobody stops: its command, journal and result."""
    command = [*SIMULATED, "--episodes", str(60 + 25 * KILLS)]
    folder = tmp_path_factory.mktemp("whole")
    done = run([*command, "--out", str(folder)])
    assert done.returncode == 0, done.stderr
    return command, (folder / JOURNAL).read_bytes(), (folder / "result.json").read_bytes()


def test_a_killed_simulated_run_ends_as_if_never_killed(simulated, tmp_path):
    command, journal, result = simulated
    command = [*command, "--out", str(tmp_path)]
    rng, seen = np.random.default_rng(KILLS), 0
    for _ in range(KILLS):
        process = subprocess.Popen(command, cwd=ROOT, stdout=-1, stderr=-1)
        kill_when(process, tmp_path, seen + rng.integers(0, 25), rng.uniform(0, 0.02))
        kept = b"".join(line for line in lines_of(tmp_path) if line.endswith(b"\n"))
        assert journal.startswith(kept)  # no episode lost, doubled or changed
        seen = len(lines_of(tmp_path))
    assert run(command).returncode == 0
    assert (tmp_path / JOURNAL).read_bytes() == journal
    produced = json.loads((tmp_path / "result.json").read_bytes())
    assert produced == json.loads(result) | {"flags": produced["flags"]}
    assert not list(tmp_path.glob(".*"))  # no temporary file either


def test_an_interrupted_run_is_kept_and_says_so(simulated, tmp_path):
    """By Ctrl-C; test_bad_input sends the other signals."""
    command, journal, _ = simulated
    command = [*command, "--out", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=-1, stderr=-1, text=True)
    out, err = kill_when(process, tmp_path, 20, 0.0, signal.SIGINT)
    assert process.returncode == 130
    assert (out, err.count("\n")) == ("", 1)
    assert f"all finished episodes are in {tmp_path}: the same command continues" in err
    assert run(command).returncode == 0
    assert (tmp_path / JOURNAL).read_bytes() == journal


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_probe(tmp_path_factory.mktemp("models") / "probe")


def servers_of(folder):
    """Process ids of the servers of a model, or of all models below a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile
            continue
        if any(word.startswith(f"--model_base_path={folder}".encode()) for word in words):
            found.append(int(path.parent.name))
    return found


def test_a_killed_live_run_leaves_no_server_and_goes_on(model, tmp_path):
    episodes = 2 + 2 * LIVE_KILLS
    command = [
        *RRL, "tune", str(model), "--executable", "local", "--rate", "50", "--requests", "20",
        "--knob", "batch_threads=0,2", "--episodes", str(episodes), "--rounds", "2",
        "--agent", "rrl", "--out", str(tmp_path),
    ]  # fmt: skip
    temporary = tmp_path / "tmp"  # a server serves a copy of the model in there
    temporary.mkdir()
    env = {**os.environ, "TMPDIR": str(temporary)}
    rng, seen, before = np.random.default_rng(0), 0, []
    for kill in range(LIVE_KILLS):
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=-1, stderr=-1, text=True)
        number = signal.SIGINT if kill == 1 else signal.SIGKILL
        kill_when(process, tmp_path, seen + 1 + rng.integers(0, 2), rng.uniform(0, 0.4), number)
        assert process.returncode == (130 if number == signal.SIGINT else -number)
        deadline = time.monotonic() + 10
        while servers_of(temporary) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert servers_of(temporary) == []
        kept = [line for line in lines_of(tmp_path) if line.endswith(b"\n")]
        assert kept[: len(before)] == before
        before, seen = kept, len(kept)
    done = run(command, env=env)
    assert done.returncode in (0, 5), done.stderr  # 5: chance made the recommendation look worse
    records = [json.loads(line) for line in lines_of(tmp_path)]
    assert lines_of(tmp_path)[: len(before)] == before
    assert [r["episode"] for r in records if "episode" in r] == [*range(episodes)]
    assert [r["round"] for r in records if "round" in r] == [0, 1]
    assert servers_of(temporary) == []


# --- no room --------------------------------------------------------------------------------------


def test_a_full_disk_keeps_what_was_there(simulated, tmp_path):
    """The kernel refuses to let a file grow beyond a limit, in the middle of a line."""
    command, journal, _ = simulated
    command = [*command, "--out", str(tmp_path)]
    limit = len(journal) // 2

    def no_more() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    message = one_line(run(command, preexec_fn=no_more), 3)
    assert f"{tmp_path / JOURNAL}: File too large; make room and run it again" in message
    kept = (tmp_path / JOURNAL).read_bytes()
    assert len(kept) > limit // 2
    assert kept.endswith(b"\n")
    assert journal.startswith(kept)
    assert run(command).returncode == 0
    assert (tmp_path / JOURNAL).read_bytes() == journal


def on_a_file_system_of_its_own(options, script, folder):
    """Run a shell script with `folder` on a small tmpfs that only it can see."""
    if not shutil.which("unshare"):
        pytest.skip("no unshare here, so no file system can be mounted")
    mount = f'mount -t tmpfs -o {options} none "$0"'
    inside = ["unshare", "-Urm", "sh", "-c"]
    if run([*inside, mount, str(folder)]).returncode:
        pytest.skip("mounting a file system of one's own is not permitted here")
    return run([*inside, f"{mount} && {script}", str(folder)])


def test_a_really_full_disk(simulated, tmp_path):
    command, journal, _ = simulated
    small, kept = tmp_path / "small", tmp_path / "kept"
    small.mkdir()
    words = " ".join(f"'{word}'" for word in command)
    script = f'{words} --out "$0"; code=$?; cp "$0"/{JOURNAL} {kept}; exit $code'
    size_kib = len(journal) // 1024 // 2
    message = one_line(on_a_file_system_of_its_own(f"size={size_kib}k", script, small), 3)
    assert "No space left on device; make room and run it again" in message
    whole = kept.read_bytes()
    assert whole.endswith(b"\n")
    assert journal.startswith(whole)


def test_a_read_only_folder(tmp_path):
    words = " ".join(f"'{word}'" for word in [*SIMULATED, "--episodes", "2"])
    folder = tmp_path / "read-only"
    folder.mkdir()
    message = one_line(on_a_file_system_of_its_own("ro", f'{words} --out "$0"/x', folder), 3)
    assert "Read-only file system; choose another folder" in message


# --- samples --------------------------------------------------------------------------------------

SIGNATURE = {"x": ("float32", (-1, 2)), "n": ("int32", (-1,))}


@pytest.mark.parametrize(
    "request_",
    [
        {"x": [[1, 2]]},
        {"x": [[1, 2]], "n": [1], "z": [1]},
        {"x": [[1, 2, 3]], "n": [1]},
        {"x": [1, 2], "n": [1]},
        {"x": [["a", "b"]], "n": [1]},
        {"x": [[1, 2]], "n": [1.5]},
        {"x": [[1, 1e99]], "n": [1]},
    ],
)
def test_a_sample_that_does_not_fit_is_refused(request_):
    with pytest.raises(ServerError, match=r"the model needs: x float32 \(-1, 2\), n int32"):
        fit(request_, SIGNATURE)


def test_a_sample_that_fits_gets_the_models_types():
    fitted = fit({"x": [[0.1, 2]], "n": [3.0]}, SIGNATURE)
    assert {name: array.dtype.name for name, array in fitted.items()} == {
        "x": "float32",
        "n": "int32",
    }


def test_samples_are_read_in_all_three_forms(tmp_path, model):
    from rrl.serving.models import WARMUPS, write_warmup

    x = np.array([[1.0, 2.0]], np.float32)
    np.savez(tmp_path / "one.npz", x=x)
    (tmp_path / "one.json").write_text('{"x": [[1.0, 2.0]]}')
    shutil.copytree(model / "1", tmp_path / "1")
    (tmp_path / "1" / "assets.extra").mkdir(exist_ok=True)
    records = write_warmup(tmp_path / "1", "probe", {"x": x})
    counts = {tmp_path / "one.npz": 1, tmp_path / "one.json": 1, records: WARMUPS}
    for path, count in counts.items():
        requests = read_sample(path)
        assert len(requests) == count
        assert all(np.array_equal(request["x"], x) for request in requests)
    records.write_bytes(records.read_bytes()[:-5])
    with pytest.raises(DataError, match="not a TFRecord file"):
        read_sample(records)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.npz", b"PK", "not an .npz file"),
        ("a.npz", b"", "not an .npz file"),
        ("a.json", b"{", "not a JSON file"),
        ("a.json", b"\xff", "not UTF-8 at byte 0"),
        ("a.json", b"[1]", "write"),
        ("a.json", b"{}", "no request in it"),
    ],
)
def test_a_bad_sample_file_is_refused(name, content, words, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_sample(tmp_path / name)


def test_a_pickle_is_not_opened(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="npz file of plain arrays"):
        read_sample(tmp_path / "a.npz")
