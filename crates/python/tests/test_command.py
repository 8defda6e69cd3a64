"""The command `sweep` of the wheel is the binary of that name."""

import subprocess
import sys
from pathlib import Path

import ssm_reduce


def sweep(*arguments: str) -> subprocess.CompletedProcess[str]:
    # The script beside this interpreter, wherever PATH leads.
    program = Path(sys.executable).with_name("sweep")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def test_one_version() -> None:
    assert sweep("--version").stdout == f"sweep {ssm_reduce.__version__}\n"


def test_exit_codes() -> None:
    listed = sweep("strategies")
    assert listed.returncode == 0 and "drop_prefix" in listed.stdout
    refused = sweep("run", "no-such-file.yaml")
    assert refused.returncode == 2 and "no-such-file.yaml" in refused.stderr


def test_workers_are_started_again(tmp_path: Path) -> None:
    experiment = tmp_path / "tiny.yaml"
    experiment.write_text(
        "name: tiny\nmodels: [builtin:mamba2-world]\ntasks: [world_lambada]\nprotocols: [context]\n"
        "strategies: [dense, random]\nschedule: { sites: paper, flops_reduction: [0.2] }\nlimit: 4\n"
    )
    done = sweep("run", str(experiment), "--out", str(tmp_path / "out"), "--workers", "2", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "trials.parquet").exists()
