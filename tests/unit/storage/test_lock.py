from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from storage.errors import Locked
from storage.lock import FileLock, Holder, holder


def test_a_second_one_is_told_who_holds_it(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "log.db.lock")
    with pytest.raises(Locked) as caught:
        FileLock(lock.path)
    assert (caught.value.pid, caught.value.address) == (os.getpid(), None)
    lock.set_address("http://127.0.0.1:8000")
    with pytest.raises(Locked, match=r"in use by process \d+, which listens on http://127\.0\.0\.1:8000") as caught:
        FileLock(lock.path)
    assert caught.value.address == "http://127.0.0.1:8000"
    lock.set_address("x")
    assert holder(lock.path) == Holder(os.getpid(), "x")
    lock.release()


def test_what_was_released_can_be_taken_again(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    lock.release()
    lock.release()
    assert holder(lock.path) == Holder()
    FileLock(lock.path).release()


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    assert lock.path.stat().st_mode & 0o777 == 0o600
    lock.release()


def test_a_process_that_is_killed_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = (
        "import sys; from pathlib import Path; from storage.lock import FileLock\n"
        "lock = FileLock(Path(sys.argv[1])); lock.set_address('there'); print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path.cwd()
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(Locked) as caught:
            FileLock(path)
        assert (caught.value.pid, caught.value.address) == (child.pid, "there")
        child.kill()
        child.wait()
        assert holder(path) == Holder(child.pid, "there")
        FileLock(path).release()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"pid": "x"}', b"\xff"])
def test_a_lock_file_with_nonsense_names_nobody(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lock"
    path.write_bytes(content)
    assert holder(path) == Holder()
    FileLock(path).release()
