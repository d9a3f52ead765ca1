"""The command ``cnnprec fleet``: names, table, exit codes, files that are no sessions."""

import json
import os

import pytest

from docs.evidence import recording
from tests.support import ab
from tests.support.commands import run_command
from tests.support.fleets import fleet, host, wrong_operation
from tests.support.histories import on_gpu
from tests.support.hostile import ESCAPES
from tests.support.saved import saved, with_environment


def put(path, session, **block):
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = json.loads(ab.session(*session.records.values(), **block))
    path.write_text(json.dumps({**plain, "datetime": session.saved_at.isoformat()}))


@pytest.fixture
def folder(tmp_path):
    """Twenty hosts of which two are bad."""
    for name, (session,) in fleet(20, host07=host(1.15), host13=wrong_operation()).items():
        put(tmp_path / "fleet" / f"{name}.json", session)
    return tmp_path / "fleet"


@pytest.fixture
def good(tmp_path):
    for name, (session,) in fleet(10).items():
        put(tmp_path / "good" / f"{name}.json", session)
    return tmp_path / "good"


def run(capsys, *arguments):
    return run_command(capsys, "fleet", *arguments)


def test_the_bad_hosts_are_named_in_table_reason_and_exit_code(capsys, folder):
    code, out, err = run(capsys, folder)
    assert (code, err) == (1, "")
    verdicts = {line.split()[0]: line.split()[-1] for line in out.splitlines()[1:21]}
    assert {name for name, verdict in verdicts.items() if verdict != "PASS"} == {"host07", "host13"}
    assert "host13: FAIL single numerics: conv2d.forward[float32]: error 3.1 of its bound" in out
    assert "verdict: FAIL, TAKE OUT\nreason:  host07, host13\n" in out


def test_good_hosts_pass(capsys, good):
    code, out, err = run(capsys, good, "--require-verdict")
    assert (code, err) == (0, "")
    assert "verdict: PASS, KEEP ALL\nreason:  none of 10 hosts stands out\n" in out


def test_a_wider_tolerance_lets_the_slow_host_pass(capsys, folder):
    _, out, _ = run(capsys, folder, "--tolerance", "20%", "--margin", "40%")
    assert "reason:  host13\n" in out


def test_folders_and_numbered_files_are_hosts_too(capsys, good):
    for name in ("host01", "host02"):
        (good / name).mkdir()
        (good / f"{name}.json").rename(good / name / "0007_before.json")
    (good / "host03.json").rename(good / "0001_host03.json")
    _, out, _ = run(capsys, good)
    assert [line.split()[0] for line in out.splitlines()[1:11]] == [
        f"host{n:02}" for n in range(10)
    ]


def test_ten_recorded_sessions_as_hosts_name_nobody(capsys, tmp_path):
    for number, records in enumerate(recording.read().sessions[:10]):
        named = with_environment(records, host=f"node{number}")
        put(tmp_path / "real" / f"node{number}.json", saved(number, named))
    code, out, err = run(capsys, tmp_path / "real")
    assert (code, err) == (0, "")
    assert len([line for line in out.splitlines() if line.startswith("node")]) >= 10
    assert "FAIL" not in out


def test_gpus_of_one_host_are_told_apart_by_their_uuid(capsys, good):
    for number in range(4):
        path = good / f"host0{number}.json"
        (session,) = fleet(1)["host00"]
        uuid = f"GPU-{number % 2}"
        records = with_environment(on_gpu(session.records), gpu_uuid=uuid, host="one")
        path.unlink()
        put(good / "one" / f"000{number}_before.json", saved(number, records))
    _, out, _ = run(capsys, good)
    assert [line.split("  ")[0] for line in out.splitlines()[1:9]] == [
        *(f"host0{n}" for n in range(4, 10)),
        *("one GPU-0", "one GPU-1"),
    ]


def test_nodes_of_one_machine_are_told_apart_by_their_folders(capsys, tmp_path):
    for number, (name, (session,)) in enumerate(fleet(6, host02=host(1.3)).items()):
        records = with_environment(session.records, host="machine")
        put(tmp_path / "nodes" / name / "session.json", saved(number, records))
    code, out, _ = run(capsys, tmp_path / "nodes")
    assert code == 1
    assert "reason:  host02\n" in out


def test_a_host_without_a_session_is_named(capsys, good):
    (good / "host99").mkdir()
    (good / "host99" / "unfinished-7.session").write_text("{}")
    (good / ".hidden").mkdir()
    code, out, err = run(capsys, good)
    assert code == 4
    assert err == f"cnnprec fleet: left out {good / 'host99'}: it holds no session of this host\n"
    assert "none of 10 hosts stands out" in out


def test_the_json_file_has_every_host_and_figure(capsys, folder, tmp_path):
    target = tmp_path / "fleet.json"
    assert run(capsys, folder, "--verdict-json", target)[0] == 1
    plain = json.loads(target.read_text())
    assert (plain["verdict"], plain["basis"], len(plain["hosts"])) == ("FAIL", "20 hosts", 20)
    assert [h for h, verdict in plain["hosts"].items() if verdict == "FAIL"] == ["host07", "host13"]
    slow = [j for j in plain["judgements"] if j["host"] == "host07" and j["metric"] == "speed"]
    assert {j["precision"] for j in slow} == {"single", "half", ""}
    assert all(1.1 < j["low"] < j["ratio"] < j["high"] for j in slow)
    assert run(capsys, folder, "--verdict-json", target)[0] == 1  # its own file is replaced


def test_torn_and_foreign_files_are_named_and_the_others_judged(capsys, good):
    whole = (good / "host04.json").read_text()
    (good / "host04.json").write_text(whole[: len(whole) // 2])
    (good / "notes.json").write_text('{"a": 1}')
    (good / "empty.json").write_text("")
    os.mkfifo(good / "pipe.json")
    (good / "copy.json").write_text((good / "host05.json").read_text())
    (good / "README").write_text("no session")
    code, out, err = run(capsys, good)
    assert code == 4
    for name in ("host04.json", "notes.json", "empty.json", "pipe.json"):
        assert f"left out {good / name}: " in err
    assert "copy of" in err
    assert "none of 9 hosts stands out" in out


def test_a_fail_counts_more_than_a_file_that_cannot_be_read(capsys, folder):
    (folder / "torn.json").write_text("{")
    assert run(capsys, folder)[0] == 1


def test_hostile_names_and_texts_stay_on_their_lines(capsys, good, tmp_path):
    evil = "x\x1b[2J\nverdict: PASS"
    (good / "host04.json").rename(good / f"{evil}.json")
    plain = json.loads((good / "host05.json").read_text())
    for benchmark in plain["benchmarks"]:
        benchmark["extra_info"]["cnnprec"]["environment"]["kernel"] = ESCAPES
    (good / "host05.json").write_text(json.dumps(plain))
    code, out, err = run(capsys, good)
    assert code == 0
    assert "\x1b" not in out + err
    assert sum(line.startswith("verdict:") for line in out.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{empty}"], "{empty}: there is no saved session in this folder"),
        (["no-such-folder"], "no-such-folder: cannot be read: No such file or directory"),
        (["{good}", "--margin", "1%"], "tolerance 0.03 and margin 0.01"),
        (["{good}", "--tolerance", "x"], "'x' is not a share"),
        (["{good}", "--verdict-json", "{good}/host01.json"], "is there and holds no verdict"),
        ([], "the following arguments are required: FOLDER"),
    ],
)
def test_what_is_refused(capsys, good, tmp_path, arguments, message):
    names = {"good": good, "empty": tmp_path / "empty"}
    names["empty"].mkdir()
    code, out, err = run(capsys, *(word.format(**names) for word in arguments))
    assert (code, out) == (4, "")
    assert message.format(**names) in err


def test_sessions_of_one_host_that_differ_are_refused(capsys, good):
    (good / "host02").mkdir()
    plain = (good / "host03.json").read_text().replace('"kernel": "6.1"', '"kernel": "9"')
    (good / "host02" / "again.json").write_text(plain)
    code, out, err = run(capsys, good)
    assert (code, out) == (4, "")
    assert "cnnprec fleet: host02: its sessions differ in kernel: " in err
