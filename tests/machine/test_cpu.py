import shutil
import subprocess

import pytest

from cnnprec.machine import cpu


def test_this_machine_has_a_cpu_with_a_name_and_cores():
    assert cpu.cpu_model()
    assert cpu.usable_cores() >= 1


X86 = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: {family}
model\t\t: {model}
model name\t: AMD EPYC
flags\t\t: fpu sse4_2 avx2 {flags}

processor\t: 1
cpu family\t: 99
model name\t: Another
flags\t\t: amx_tile
"""


ARM = """processor\t: 0
Features\t: fp asimd sve bf16
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""


@pytest.fixture
def cpu_info(tmp_path, monkeypatch):
    """Lets `cpu` read another text than /proc/cpuinfo."""
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(cpu, "Path", lambda name: {"/proc/cpuinfo": path}[name])
    monkeypatch.setattr(cpu.platform, "processor", lambda: "")
    monkeypatch.setattr(cpu.platform, "machine", lambda: "aarch64")
    return path


def test_processors_of_one_name_are_told_apart(cpu_info):
    cpu_info.write_text(X86.format(family=25, model=1, flags=""))
    older = cpu.cpu_model(), cpu.cpu_features()
    cpu_info.write_text(X86.format(family=26, model=2, flags="avx512_bf16 avx512f"))
    newer = cpu.cpu_model(), cpu.cpu_features()
    assert older == ("AMD EPYC family 25 model 1", ("sse4_2", "avx2"))
    # In the order of the table, not of the file, and nothing that no kernel is chosen by.
    assert newer == (
        "AMD EPYC family 26 model 2",
        ("sse4_2", "avx2", "avx512f", "avx512_bf16"),
    )


def test_arm_processor_is_told_by_implementer_and_part(cpu_info):
    cpu_info.write_text(ARM)
    assert cpu.cpu_model() == "aarch64 implementer 0x41 part 0xd40"
    assert cpu.cpu_features() == ("asimd", "bf16", "sve")


def test_system_that_does_not_tell_its_processor_has_a_name_and_unknown_features(cpu_info):
    assert not cpu_info.exists()
    assert cpu.cpu_model() == "aarch64"
    assert cpu.cpu_features() is None


def test_features_of_this_machine_are_those_of_the_system():
    found = cpu.cpu_features()
    lscpu = shutil.which("lscpu")
    if lscpu is None:
        pytest.skip("no lscpu to compare with")
    text = subprocess.run([lscpu], capture_output=True, text=True, check=True).stdout
    assert found
    assert set(found) <= set(text.split())
