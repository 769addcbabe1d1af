"""What a shell offers while a line is typed, asked as a shell asks."""

import os
import shutil
import subprocess
import sys

import pytest

from noisystudent.commands.completion import choices_in, paths_from
from noisystudent.commands.main import COMMANDS, main
from noisystudent.config import USED

# Answers many lines in one process: each in a child, as argcomplete ends the process.
_ANSWERS = """
import os, sys
from noisystudent.commands.main import main

for line in sys.stdin.read().splitlines():
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writer, 8)
        os.environ |= {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_SHELL": "bash", "_ARGCOMPLETE_IFS": " ", "COMP_LINE": line}
        os.environ["COMP_POINT"] = str(len(line))
        main([])
        os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as file:
        print(file.read())
    os.waitpid(child, 0)
assert "torch" not in sys.modules
"""
LINES = {
    "noisystudent ": set(COMMANDS),
    "noisystudent r": {"run", "runs", "report"},
    "noisystudent --v": {"--version"},
    "noisystudent run --si": {"--size"},
    "noisystudent run --noise.crop ": {"auto", "resized", "pad", "window", "none"},
    "noisystudent run --noise.crop=r": {"--noise.crop=resized"},
    "noisystudent run photos/labeled --log t": {"tensorboard"},
    "noisystudent run --backbone ": {"auto", "none"},
    "noisystudent run --evaluation.suite clean,cal": {"clean,calibration"},
    "noisystudent run --labeled ph": {"photos/"},
    "noisystudent run photos/labeled photos/un": {"photos/unlabeled/"},
    "noisystudent run --out ph": {"photos/"},
    "noisystudent run --config ": {"photos/", "settings.yaml"},
    "noisystudent open ": {"photos/"},
    "noisystudent predict ph": {"photos/"},
    "noisystudent export photos --to ": {"timm", "onnx", "torch-export"},
    "noisystudent completion ": {"bash", "zsh", "fish"},
    "noisystudent label --engine ": {"local", "ray"},
    "noisystudent study --plan set": {"settings.yaml"},
    "noisystudent nonsense ": set(),
    "noisystudent run --nonsense": set(),
    "noisystudent run --steps ": set(),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("typed")
    for name in ("photos/labeled", "photos/unlabeled", ".hidden"):
        (folder / name).mkdir(parents=True)
    (folder / "settings.yaml").touch()
    lines = [*LINES, *(f"noisystudent {command} --" for command in COMMANDS)]
    done = subprocess.run(
        [sys.executable, "-c", _ANSWERS],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    return {line: set(answer.split()) for line, answer in zip(lines, done.stdout.split("\n"), strict=False)}


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_completed(line, answers):
    assert answers[line] == LINES[line]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_completes_its_options(command, answers):
    offered = answers[f"noisystudent {command} --"]
    assert "--help" in offered
    settings = USED.get("robustness" if command == "evaluate" else command, ())
    assert {f"--{name}" for name in settings if f"--{name}" not in offered} <= {"--labeled", "--unlabeled", "--out"}


@pytest.mark.parametrize(
    ("metavar", "choices"),
    [
        ("{auto,gray,rgb}", ["auto", "gray", "rgb"]),
        ("{clean,attacks},...", ["clean", "attacks"]),
        ("auto|N", ["auto"]),
        ("true|false|X", ["true", "false"]),
        ("NAME|FILE.yaml", []),
        ("TIME", []),
        ("tensorboard", ["tensorboard"]),
    ],
)
def test_choices_are_what_is_not_in_capitals(metavar, choices):
    assert choices_in(metavar) == choices


def test_paths_of_odd_names_and_missing_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "c.npz").touch()
    (tmp_path / ".x").touch()
    assert paths_from("") == ["a b/"]
    assert paths_from(".") == [".x"]
    assert paths_from("a b/") == ["a b/c.npz"]
    assert paths_from("a b/", folders_only=True) == []
    assert paths_from("gone/") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_printed(shell, capsys):
    assert main(["completion", shell]) == 0
    assert "noisystudent" in capsys.readouterr().out
    assert main(["completion", "tcsh"]) == 2
    assert "'bash', 'zsh', 'fish'" in capsys.readouterr().err


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes_with_the_printed_script(tmp_path):
    command = tmp_path / "noisystudent"
    command.write_text(
        f"#!{sys.executable}\nimport sys\nfrom noisystudent.commands.main import main\nsys.exit(main())\n"
    )
    command.chmod(0o755)
    typed = (
        'eval "$(noisystudent completion bash)"; COMP_LINE="noisystudent exp"; COMP_POINT=${#COMP_LINE}; '
        "COMP_WORDS=(noisystudent exp); COMP_CWORD=1; _python_argcomplete noisystudent exp noisystudent; "
        'echo "${COMPREPLY[@]}"'
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", typed], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["export"]
