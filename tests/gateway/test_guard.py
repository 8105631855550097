"""The package guard, against real foreign packages in a process of their own."""

import subprocess
import sys

import pytest

from tests.support import ROOT

SCRIPT = """
import sys
sys.path.insert(0, {root!r})
import gateway.guard
sys.path.insert(0, {foreign!r})
try:
    gateway.guard.require_own_packages()
except gateway.guard.ForeignPackageError as error:
    print(error)
else:
    print("all ours:", "policy" in sys.modules)
"""


def guarded(foreign):
    script = SCRIPT.format(root=str(ROOT), foreign=str(foreign))
    # Without site-packages, so that an editable installation does not come first.
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout.strip()


def test_our_own_packages_pass_and_are_not_imported(tmp_path):
    assert guarded(tmp_path) == "all ours: False"


@pytest.mark.parametrize("name", ["registry", "policy", "adapters"])
@pytest.mark.parametrize(
    "source", ["raise SystemExit('executed')", "OWNER = 'somebody'", '# OWNER = "hilum"']
)
def test_a_foreign_package_is_named_and_not_executed(tmp_path, name, source):
    package = tmp_path / name / "__init__.py"
    package.parent.mkdir()
    package.write_text(source)
    assert f"the package '{name}' is not Hilum's but {package}" in guarded(tmp_path)


def test_a_foreign_single_file_module_is_refused(tmp_path):
    (tmp_path / "policy.py").write_text("")
    assert f"the package 'policy' is not Hilum's but {tmp_path / 'policy.py'}" in guarded(tmp_path)


def test_a_missing_package_is_reported(tmp_path):
    script = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import gateway.guard
try:
    gateway.guard.require_own_packages()
except ImportError as error:
    print(error)
"""
    (tmp_path / "gateway").symlink_to(ROOT / "gateway")
    (tmp_path / "registry").symlink_to(ROOT / "registry")
    (tmp_path / "policy").mkdir()
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True
    )
    assert "the package 'policy' of Hilum was not found" in done.stdout


def test_the_program_does_not_start_with_a_foreign_package(tmp_path):
    (tmp_path / "policy.py").write_text("raise SystemExit('executed')")
    # With -m the working directory comes first on the path, as it does for a user.
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "version"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("hilum: the package 'policy' is not Hilum's but ")
    assert "install Hilum in an environment or container of its own" in done.stderr
