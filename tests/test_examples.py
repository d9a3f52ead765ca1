"""The files under docs/examples: what a scheduler would run, run with a stand-in for Python."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"

pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="they are in a checkout only")


@pytest.fixture
def checkout(tmp_path):
    """A folder whose Python prints its arguments."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\necho "$@"\nexit 1\n')
    python.chmod(0o755)
    return tmp_path


def bash(checkout, *words, **environment):
    path = {"PATH": "/usr/bin:/bin"}
    return subprocess.run(
        ["/bin/bash", *words],
        cwd=checkout,
        env={**path, **environment},
        capture_output=True,
        text=True,
    )


def slurm(checkout, node, *words):
    script = str(EXAMPLES / "slurm-job-array.sh")
    return bash(checkout, script, *words, SLURMD_NODENAME=node)


def pod(checkout, node):
    """Runs what the Job's container runs."""
    text = (EXAMPLES / "kubernetes-job.yaml").read_text()
    assert "command: [/bin/bash, -euc]" in text
    (code,) = re.findall(r"- \|\n((?: {14}.*\n)+)", text)
    return bash(checkout, "-euc", code, FLEET="fleet", NODE_NAME=node)


def test_a_task_saves_its_session_in_the_folder_of_its_node_with_the_code_of_pytest(checkout):
    done = slurm(checkout, "node7", "a fleet", "--level=1", "--device=all")
    assert done.stdout.strip() == (
        "-m pytest benchmarks/ --benchmark-json=a fleet/node7/session.json --level=1 --device=all"
    )
    assert done.returncode == 1
    assert (checkout / "a fleet" / "node7").is_dir()


def test_a_pod_saves_its_session_in_the_folder_of_its_node_with_the_code_of_pytest(checkout):
    done = pod(checkout, "node7")
    assert done.stdout.strip().startswith("-m pytest benchmarks/ --dataset fashion-mnist")
    assert done.stdout.strip().endswith("--benchmark-json=fleet/node7/session.json")
    assert done.returncode == 1


def test_a_node_is_measured_once(checkout):
    assert slurm(checkout, "node7", "fleet").returncode == 1
    assert slurm(checkout, "node8", "fleet").returncode == 1
    for again in (slurm(checkout, "node7", "fleet"), pod(checkout, "node8")):
        assert (again.returncode, again.stdout) == (4, "")
        assert " was measured already: " in again.stderr


def test_a_task_without_a_folder_is_refused(checkout):
    done = slurm(checkout, "node7")
    assert done.returncode == 4
    assert done.stderr.startswith("usage: sbatch --array=")


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_whole_and_can_be_started(checkout, script):
    assert bash(checkout, "-n", str(script)).returncode == 0
    assert script.stat().st_mode & 0o111


def test_the_machine_with_several_nodes_refuses_a_folder_that_is_there(checkout):
    (checkout / "fleet").mkdir()
    done = bash(checkout, str(EXAMPLES / "slurm-on-one-machine.sh"), "fleet")
    assert done.returncode == 4
    assert done.stderr.endswith("fleet is there already: name a new folder\n")
