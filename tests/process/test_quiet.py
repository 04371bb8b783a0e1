"""The library says nothing on stdout and stderr, and keeps nothing from being said that is not TensorFlow's."""

import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval.process import quiet
from retrieval.process.quiet import NATIVE, hushed


def ran(code: str, *arguments: object, **surroundings: str) -> tuple[str, str]:
    """What a program of its own writes to stdout and stderr, down to the file descriptors."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("TF_", "MPL"))} | surroundings
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=400, env=environment)
    return done.stdout, done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 50, 3), dtype=np.uint8)
        (tmp_path / f"photos/{number % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / f"photos/{number % 2}/{number}.png")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runtime", "library"),
    [("openvino", "openvino"), pytest.param("keras", "tensorflow", marks=pytest.mark.tensorflow)],
)
def test_the_first_run_of_a_network_is_silent(folder: Path, runtime: str, library: str) -> None:
    """With a home that cannot be written, too, where Matplotlib (which Keras imports) has something to say."""
    (folder / "home").write_text("no folder")
    code = """
        import logging, os, sys
        logging.getLogger("retrieval").setLevel("ERROR")  # there is a note that the weights are random
        before = [os.fstat(number).st_ino for number in (1, 2)]
        from retrieval import Index
        small = {"backbone": "mobilenet", "alpha": 0.25, "input_size": 64, "weights": "random"}
        with Index.create(sys.argv[1] + "/index", runtime=sys.argv[2], **small) as index:
            assert index.add(sys.argv[1] + "/photos").added == 12
        assert sys.argv[3] in sys.modules
        assert before == [os.fstat(number).st_ino for number in (1, 2)]
        assert "TF_CPP_MIN_LOG_LEVEL" not in os.environ
    """
    home = os.fspath(folder / "home")
    assert ran(code, folder, runtime, library, HOME=home, XDG_CACHE_HOME=os.fspath(folder / "cache")) == ("", "")


@pytest.mark.tensorflow
@pytest.mark.slow
def test_a_training_is_silent(folder: Path) -> None:
    code = """
        import sys
        from retrieval.networks.catalogue import Backbone
        from retrieval.training.recipe import Recipe
        from retrieval.training.run import train
        recipe = Recipe.of(Backbone.choose("mobilenet", alpha=0.25, input_size=32), "random", epochs=2, batch=8, dim=8)
        train(sys.argv[1] + "/photos", sys.argv[1] + "/out.keras", recipe)
    """
    out, said = ran(code, folder)
    notes = ("the weights are random", "training mobilenet")  # our own, through `logging`
    assert (out, [line for line in said.splitlines() if not any(note in line for note in notes)]) == ("", [])


class TestHushed:
    """What is left out while TensorFlow is used, and what is not."""

    def test_others_are_heard_at_the_end(self) -> None:
        code = r"""
            import logging, os, subprocess, sys
            from retrieval.process.quiet import hushed
            with hushed():
                os.write(2, b"I0000 00:00:1795645752.023216   16373 cudart_stub.cc:31] Could not find cuda\n")
                os.write(2, b"2026-11-25 22:31:54.123456: W tensorflow/core/util/port.cc:153] oneDNN\n")
                os.write(2, b"native line of another\n")
                print("I am no log", file=sys.stderr)
                logging.getLogger("tensorflow").warning("retracing")
                logging.getLogger("mine").warning("kept")
                subprocess.run([sys.executable, "-c", "import sys; sys.stderr.write('of a child\\n')"])
            os.write(2, b"I0000 00:00:1795645752.023216   16373 cudart_stub.cc:31] told after\n")
            logging.getLogger("tensorflow").warning("after")
        """
        said = ran(code)[1].splitlines()
        assert said[:4] == ["native line of another", "I am no log", "kept", "of a child"]
        assert said[4].endswith("told after")
        assert said[5] == "after"
        assert len(said) == 6

    def test_levels_and_descriptors_are_as_before_whatever_happens(self) -> None:
        logger, before = logging.getLogger("tensorflow"), os.fstat(2).st_ino
        level = logger.level
        with hushed(), hushed():
            assert logger.level == logging.ERROR
        with pytest.raises(ValueError, match="in it"), hushed():
            raise ValueError("in it")
        assert (logger.level, os.fstat(2).st_ino, quiet._silence._calls) == (level, before, 0)

    def test_a_closed_stderr_is_no_trouble(self) -> None:
        code = """
            import os
            from retrieval.process.quiet import hushed
            os.close(2)
            with hushed():
                print("done")
        """
        assert ran(code) == ("done\n", "")

    def test_a_child_that_is_forked_meanwhile_is_heard(self) -> None:
        code = r"""
            import os
            from retrieval.process.quiet import hushed
            with hushed():
                child = os.fork()
                if not child:
                    os.write(2, b"child\n")
                    os._exit(0)
                os.waitpid(child, 0)
        """
        assert ran(code) == ("", "child\n")

    @pytest.mark.parametrize(
        "line", [b"I am here", b"W1125 22:31:54.1 140 train.py:3] mine", b"2026-11-25 22:31:54: I went", b"E: no"]
    )
    def test_lines_of_programs_are_no_native_logs(self, line: bytes) -> None:
        assert not NATIVE.match(line)
