"""`inspect --mislabelled` that is ended while it trains what it keeps nowhere: a real process."""

import signal
import time

import forked
import tiny


def test_ended_while_it_cross_validates_it_says_what_is_kept(tmp_path):
    data = tiny.write_rankings(tmp_path / "ranked.jsonl", 600)
    words = ("-m", "plaudit", "inspect", data, "--mislabelled")
    process = forked.start(*words, XDG_CACHE_HOME=str(tmp_path / "cache"), TMPDIR=str(tmp_path))
    deadline = time.monotonic() + 120
    kept = "cache/plaudit/features/*/*.data"
    while not any(file.stat().st_size for file in tmp_path.glob(kept)):
        assert process.poll() is None, process.stderr
        assert time.monotonic() < deadline, process.stderr
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143, process.stderr
    last = process.stderr.splitlines()[-1]
    assert last.startswith("plaudit: interrupted; what was not finished is not kept; what the "
                           "frozen layers gave so far is")  # fmt: skip
    assert "config.yaml" not in process.stderr
    assert not list(tmp_path.glob("tmp*"))
