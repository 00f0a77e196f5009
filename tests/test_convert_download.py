"""Downloads from a server in the test itself; nothing leaves the machine."""

import hashlib
import io
import os
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recbole_sibrar.cli import main
from recbole_sibrar.convert import download


def archive():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        target.writestr("ml-1m/ratings.dat", "1::2::3::4\n" * 1000)
    return file.getvalue()


CONTENT = archive()


class Handler(BaseHTTPRequestHandler):
    ranges = True
    cut = 0
    asked = []

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) - self.cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    handler = type("Fresh", (Handler,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/ml-1m.zip"
    source = download.Source((address,), {"ml-1m.zip": hashlib.md5(CONTENT).hexdigest()})
    monkeypatch.setitem(download.SOURCES, "ml-1m", source)
    yield handler
    server.shutdown()
    server.server_close()


def test_a_download_that_breaks_off_goes_on(server, capsys):
    server.cut = 100
    assert main(["download", "ml-1m", "--raw", "raw"]) == 2
    assert "by hand" in capsys.readouterr().err and not Path("raw/ml-1m.zip").exists()
    server.cut = 0
    assert main(["download", "ml-1m", "--raw", "raw"]) == 0
    assert server.asked == [None, f"bytes={len(CONTENT) - 100}-"]
    assert Path("raw/ml-1m.zip").read_bytes() == CONTENT and Path("raw/ratings.dat").is_file()
    assert main(["download", "ml-1m", "--raw", "raw"]) == 0
    assert len(server.asked) == 2  # it was there


@pytest.mark.parametrize("ranges, n_there", [(False, 10), (True, len(CONTENT))])
def test_servers_without_ranges_and_complete_parts(server, ranges, n_there):
    server.ranges = ranges
    Path("raw").mkdir()
    Path("raw/ml-1m.zip.part").write_bytes(CONTENT[:n_there])
    assert main(["download", "ml-1m", "--raw", "raw"]) == 0
    assert Path("raw/ml-1m.zip").read_bytes() == CONTENT


def test_a_wrong_checksum(server, capsys):
    Path("raw").mkdir()
    Path("raw/ml-1m.zip.part").write_bytes(b"x" * 10)
    assert main(["download", "ml-1m", "--raw", "raw"]) == 2
    assert "the checksum is not" in capsys.readouterr().err and not list(Path("raw").iterdir())


def test_a_file_whose_unpacking_was_killed_is_unpacked_again(server, monkeypatch):
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(download.shutil, "copyfileobj", lambda source, file: (file.write(b"1::"), os._exit(9)))
        main(["download", "ml-1m", "--raw", "raw"])
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert main(["download", "ml-1m", "--raw", "raw"]) == 0
    assert sorted(os.listdir("raw")) == ["ml-1m.zip", "ratings.dat"]
    assert Path("raw/ratings.dat").read_text() == "1::2::3::4\n" * 1000


def test_what_else_lies_in_the_folder_stays_as_it_is(server, capsys):
    Path("raw").mkdir()
    Path("raw/ratings.dat").write_text("mine")
    with zipfile.ZipFile("raw/photos.zip", "w") as mine:
        mine.writestr("photo.txt", "x")
    assert main(["download", "ml-1m", "--raw", "raw"]) == 0
    assert Path("raw/ratings.dat").read_text() == "mine"
    assert sorted(os.listdir("raw")) == ["ml-1m.zip", "photos.zip", "ratings.dat"]
    Path("raw/ml-1m.zip").write_bytes(CONTENT[:-30])
    assert main(["download", "ml-1m", "--raw", "raw"]) == 2
    assert "raw/ml-1m.zip is no whole archive" in capsys.readouterr().err


@pytest.mark.parametrize("corpus", ["ml-1m", "onion", "amazon-vg"])
def test_without_network(monkeypatch, capsys, corpus):
    def refuse(*_, **__):
        raise OSError("network is unreachable")

    monkeypatch.setattr(download, "urlopen", refuse)
    assert main(["download", corpus]) == 2
    error = capsys.readouterr().err
    assert all(address in error for address in download.SOURCES[corpus].addresses) and "Traceback" not in error
