"""What a hub that is broken or hostile can send, and what remains on the disk."""

import hashlib

import httpx2
import pytest
from typer.testing import CliRunner

from plugway_local_models import PullFailed, UnusableModel, _commands, models_folder
from plugway_local_models._hub import Hub, pull

DATA = b"weights of a model"
HASH = hashlib.sha256(DATA).hexdigest()


class Any:
    """A kind whose models are any files."""

    title = "file"

    def choose(self, files, variant, repo):
        return [file for file in files if file.path.endswith(".w")]

    def check_file(self, path, file):
        if not path.read_bytes():
            raise UnusableModel(f"{file.path} is empty")

    def check_all(self, paths):
        pass

    def models(self):
        return []


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(_commands, "model_kinds", lambda: [Any()])


def hub_with(tree, data=DATA, **headers):
    """A hub that lists `tree`, a list or bytes, and has `data` for every file."""

    def answer(request):
        if "/api/models/" in request.url.path:
            body = {"content": tree} if isinstance(tree, bytes) else {"json": tree}
            return httpx2.Response(200, **body)
        return httpx2.Response(200, content=data, headers=headers)

    hub = Hub("http://hub.test")
    hub._client = httpx2.Client(transport=httpx2.MockTransport(answer), follow_redirects=True)
    return hub


def fetch(hub):
    return pull(hub, "org/repo", models_folder(), lambda *_: None, [Any()])


def files_below(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "tree",
    [
        *(b"", b"<html>", b"{}", b"null", b"7", b'"text"', b"\xff\xfe", b"[" * 100_000),
        *([], [None], [3, "x", [], True], [{}], [{"size": 5}], [{"path": None}], [{"path": 7}]),
    ],
)
def test_a_list_that_is_none_or_empty_has_no_model(tree):
    with pytest.raises(PullFailed, match=r"did not list|has no file file"):
        fetch(hub_with(tree))


@pytest.mark.parametrize(
    "size", [0, -5, None, True, "18", "abc", 1.5, 1e308, [], {}, len(DATA)], ids=repr
)
@pytest.mark.parametrize("where", ["entry", "lfs"])
def test_an_odd_size_counts_as_not_reported(size, where):
    entry = {"path": "a.w"} | ({"size": size} if where == "entry" else {"lfs": {"size": size}})
    (path,) = fetch(hub_with([entry]))
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("size", ["NaN", "Infinity", "1" * 400])
def test_a_size_that_is_no_number_does_no_harm(size):
    tree = f'[{{"path": "a.w", "size": {size}}}]'.encode()
    if size.isdecimal():
        with pytest.raises(PullFailed, match="needs"):
            fetch(hub_with(tree))
    else:
        assert fetch(hub_with(tree))


@pytest.mark.parametrize("lfs", [None, "x", [], 7, True, {"oid": None}, {"oid": 0}], ids=repr)
def test_an_odd_hash_counts_as_not_reported(lfs):
    assert fetch(hub_with([{"path": "a.w", "lfs": lfs}]))


@pytest.mark.parametrize("oid", ["0" * 64, "x", HASH.upper()[:-1], "\x1b[2J"])
def test_a_wrong_hash_leaves_no_file(oid):
    with pytest.raises(PullFailed, match="SHA-256"):
        fetch(hub_with([{"path": "a.w", "lfs": {"oid": oid}}]))
    assert not files_below(models_folder())


def test_more_bytes_than_listed_are_not_kept():
    with pytest.raises(PullFailed, match="larger than the 4 bytes"):
        fetch(hub_with([{"path": "a.w", "size": 4}]))
    assert not files_below(models_folder())


@pytest.mark.parametrize(
    "path",
    [
        *("../../../a.w", "/etc/a.w", "a/../../b.w", "..\\..\\c.w", "./././d.w", "~/e.w"),
        *("...w", ".w", "\x1b[2Jf.w", "[bold]g.w", "h\n.w", "C:i.w", "%2e%2e%2fj.w", "k .w"),
    ],
)
def test_every_file_stays_in_the_folder_of_its_repository(path, tmp_path):
    fetch(hub_with([{"path": path, "size": len(DATA)}]))
    (found,) = files_below(tmp_path)
    assert found.parent == (models_folder() / "org/repo").relative_to(tmp_path)


@pytest.mark.parametrize("place", ["org", "org/repo", "org/repo/a.w.part"])
def test_a_link_out_of_the_folder_is_not_followed(place, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    link = models_folder() / place
    link.parent.mkdir(parents=True)
    link.symlink_to(outside / "a.w" if place.endswith("part") else outside)
    with pytest.raises(PullFailed, match="remove the link"):
        fetch(hub_with([{"path": "a.w"}]))
    assert not list(outside.iterdir())


@pytest.mark.parametrize("place", ["org", "org/repo", "org/repo/a.w/b", "org/repo/a.w.part/b"])
def test_what_is_in_the_way_is_a_message(place, monkeypatch):
    path = models_folder() / place
    path.parent.mkdir(parents=True)
    path.write_text("in the way")
    monkeypatch.setattr(_commands, "Hub", lambda _: hub_with([{"path": "a.w"}]))
    done = CliRunner().invoke(_commands.models_app, ["pull", "org/repo"])
    assert done.exit_code == 1
    assert "cannot write the model to" in " ".join(done.stderr.split())


@pytest.mark.parametrize("endpoint", ["hub", "http://", "http://[", "ftp://hub", "http://h:99999"])
def test_an_address_that_is_none_is_a_message(endpoint):
    with pytest.raises(PullFailed, match="cannot connect to"):
        fetch(Hub(endpoint))


def test_a_redirect_in_circles_is_a_message():
    def answer(request):
        if "/api/models/" in request.url.path:
            return httpx2.Response(200, json=[{"path": "a.w"}])
        return httpx2.Response(302, headers={"location": str(request.url)})

    hub = Hub("http://hub.test")
    hub._client = httpx2.Client(transport=httpx2.MockTransport(answer), follow_redirects=True)
    with pytest.raises(PullFailed, match=r"a\.w cannot be downloaded"):
        fetch(hub)


def test_a_list_of_several_pages_is_read_to_its_end():
    asked = []

    def answer(request):
        asked.append(str(request.url))
        if "/api/models/" not in request.url.path:
            return httpx2.Response(200, content=DATA)
        if "cursor" in request.url.params:
            return httpx2.Response(200, json=[{"path": "late.w"}])
        following = "http://hub.test/api/models/org/repo/tree/main?recursive=1&cursor=abc"
        headers = {"link": f'<{following}>; rel="next"'}
        return httpx2.Response(200, json=[{"path": "README.md"}], headers=headers)

    hub = Hub("http://hub.test")
    hub._client = httpx2.Client(transport=httpx2.MockTransport(answer))
    (path,) = fetch(hub)
    assert path.name == "late.w"
    assert [url.partition("?")[2] for url in asked] == ["recursive=1", "recursive=1&cursor=abc", ""]


@pytest.mark.parametrize(
    "following", ["http://else.test/x", "file:///etc/passwd", "http://hub.test/a"]
)
def test_a_list_of_pages_stays_on_the_hub_and_ends(following):
    asked = []

    def answer(request):
        asked.append(request.url.host)
        headers = {"link": f'<{following}>; rel="next"'}
        return httpx2.Response(200, json=[{"path": "x"}], headers=headers)

    hub = Hub("http://hub.test")
    hub._client = httpx2.Client(transport=httpx2.MockTransport(answer))
    with pytest.raises(PullFailed, match="has no file file"):
        fetch(hub)
    assert set(asked) == {"hub.test"}
    assert len(asked) <= 50
