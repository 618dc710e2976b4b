"""Files that are placed, named or filled in odd ways: nothing outside the models folder is deleted,
no pipe is waited for, and one bad file hides no other."""

import json
import os
import struct
import threading

import anyio
import odd_gguf
import pytest
import tiny_gguf
from test_gguf import gguf, pair, string
from typer.testing import CliRunner

from plugway import RequestRejected
from plugway.testing import build_plugin, gateway, request_body
from plugway_llama_cpp import LlamaCpp, _models
from plugway_llama_cpp._files import glance, is_something_else, read_model
from plugway_llama_cpp._folder import find_model, list_models
from plugway_llama_cpp._gguf import HostileFile, read_header
from plugway_local_models import NoSuchModel, PullFailed, RemoteFile, models_folder
from plugway_local_models._commands import models_app
from plugway_local_models._hub import pull


def run(*words):
    done = CliRunner().invoke(models_app, list(words), env={"COLUMNS": "10000"})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, " ".join(done.output.split())


@pytest.fixture
def folder():
    folder = models_folder()
    folder.mkdir(parents=True)
    return folder


def names():
    return [model.name for model in list_models()]


# What `rm` deletes


@pytest.mark.parametrize(
    "inside", ["sub/../../../../out.gguf", "../../out.gguf", "sub/linked/out.gguf"]
)
def test_a_file_outside_the_folder_is_never_deleted(folder, tmp_path, inside):
    outside = tiny_gguf.write(tmp_path / "out.gguf")
    (folder / "sub").mkdir()
    (folder / "sub" / "linked").symlink_to(tmp_path, target_is_directory=True)
    assert (folder / inside).exists() or not inside.endswith("linked/out.gguf")
    code, out = run("rm", str(folder / inside), "--yes")
    assert code == 1
    assert "deleted" not in out
    assert outside.is_file()


def test_a_path_that_ends_inside_the_folder_is_deleted(folder, monkeypatch):
    (folder / "sub").mkdir()
    path = tiny_gguf.write(folder / "a.gguf")
    monkeypatch.chdir(folder / "sub")
    assert run("rm", "../a.gguf", "--yes")[0] == 0
    assert not path.exists()


def test_a_linked_models_folder_is_the_models_folder(folder, tmp_path):
    folder.rmdir()
    (tmp_path / "disk").mkdir()
    folder.symlink_to(tmp_path / "disk", target_is_directory=True)
    tiny_gguf.write(folder / "a.gguf")
    assert run("rm", "a", "--yes")[0] == 0
    assert not list((tmp_path / "disk").iterdir())


def test_of_a_linked_file_only_the_link_is_deleted(folder, tmp_path):
    target = tiny_gguf.write(tmp_path / "blob")
    (folder / "a.gguf").symlink_to(target)
    assert run("rm", "a", "--yes")[0] == 0
    assert target.is_file()
    assert not names()


def test_a_folder_is_not_deleted_and_nobody_says_so(folder):
    (folder / "a.gguf").mkdir()
    code, out = run("rm", "a", "--yes")
    assert code == 1
    assert "nothing was deleted" in out
    assert (folder / "a.gguf").is_dir()


@pytest.mark.parametrize("link", ["org", "org/repo", "org/repo/tiny.gguf.part"])
def test_nothing_is_downloaded_through_a_link_out_of_the_folder(folder, tmp_path, link):
    class AHub:
        def files(self, repo):
            return [RemoteFile("tiny.gguf", 4, "")]

        def download(self, repo, file, target, progress, kind):
            raise AssertionError(target)

    (tmp_path / "outside").mkdir()
    (folder / link).parent.mkdir(parents=True, exist_ok=True)
    (folder / link).symlink_to(tmp_path / "outside" / ("" if "." not in link else "x"))
    with pytest.raises(PullFailed, match="remove the link"):
        pull(AHub(), "org/repo", folder, print)
    assert not list((tmp_path / "outside").iterdir())


@pytest.mark.anyio
async def test_a_client_gets_models_of_the_folder_and_no_other_path(
    engine, models, folder, tmp_path, monkeypatch
):
    tiny_gguf.write(tmp_path / "out.gguf")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    async with engine(models["full"]) as e:
        for name in ("out.gguf", "./out.gguf", "~/out.gguf", "~nobody-here/x", "x" * 5000):
            with pytest.raises(RequestRejected) as caught:
                await e.backend.loader.get(name)
            assert caught.value.status == 404
            assert set(e.backend.loader.loaded) <= {"full"}


@pytest.mark.parametrize("name", ["~nobody-here/x", "x" * 5000])
def test_what_can_be_no_path_is_refused_in_a_sentence(name):
    code, out = run("show", name)
    assert code == 1
    assert "is no name of a model file" in out


# Names of more than one model


def test_an_ambiguous_name_is_refused_with_both_files(folder, models):
    parts = odd_gguf.split(models["full"], folder)
    whole = tiny_gguf.write(folder / "m.gguf")
    for command in (("rm", "m", "--yes"), ("show", "m")):
        code, out = run(*command)
        assert code == 1
        assert "`m-00001-of-00003.gguf` or `m.gguf`" in out
    assert sorted(names()) == ["m-00001-of-00003.gguf", "m.gguf"]
    assert run("rm", "m.gguf", "--yes")[0] == 0
    assert not whole.exists()
    assert all(part.exists() for part in parts)
    assert run("rm", "m", "--yes")[0] == 0
    assert not list(folder.iterdir())


def test_the_same_file_name_in_two_folders_is_ambiguous_but_the_full_names_are_not(folder):
    for sub in ("a", "b"):
        (folder / sub).mkdir()
        tiny_gguf.write(folder / sub / "m.gguf")
    for name in ("m", "m.gguf"):
        with pytest.raises(NoSuchModel, match=r"`a/m\.gguf` or `b/m\.gguf`"):
            find_model(name)
    for name in ("b/m", "b/m.gguf"):
        assert find_model(name).path == folder / "b" / "m.gguf"


def test_whole_models_that_are_named_like_parts_are_models_of_their_own(folder):
    one = tiny_gguf.write(folder / "v-00001-of-00002.gguf")
    two = tiny_gguf.write(folder / "v-00002-of-00002.gguf")
    assert names() == ["v-00001-of-00002", "v-00002-of-00002"]
    _, out = run("show", "v-00001-of-00002", "--json")
    assert json.loads(out)["bytes"] == one.stat().st_size
    assert run("rm", "v-00002-of-00002", "--yes")[0] == 0
    assert one.is_file()
    assert not two.exists()
    assert not glance(one)
    assert read_model(one).tensors
    assert run("rm", str(one), "--yes")[0] == 0
    assert not names()


def test_a_whole_model_in_the_place_of_a_part_is_not_deleted_with_the_others(folder, models):
    parts = odd_gguf.split(models["full"], folder)
    tiny_gguf.write(parts[1])
    assert run("rm", "m-00001-of-00003.gguf", "--yes")[0] == 0
    assert list(folder.iterdir()) == [parts[1]]


# Pipes


def pipe(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return path


def test_a_pipe_is_refused_without_waiting(folder):
    path = pipe(folder / "x.gguf")
    with pytest.raises(HostileFile, match="not a regular file"):
        read_model(path)
    assert "not a regular file" in glance(path)
    assert not is_something_else(path)
    for name in ("x", str(path)):
        code, out = run("show", name)
        assert code == 1
        assert "not a regular file" in out


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_pipe_as_a_part_is_refused_and_the_others_are_listed(folder, models, number):
    parts = odd_gguf.split(models["full"], folder)
    tiny_gguf.write(folder / "good.gguf")
    pipe(parts[number - 1])
    rows = {row["model"]: row for row in json.loads(run("list", "--json")[1])}
    assert "not a regular file" in rows["m"]["about"]
    assert rows["good"]["architecture"] == "llama"
    assert "not a regular file" in run("show", "m")[1]


@pytest.mark.anyio
async def test_a_gateway_with_a_pipe_in_its_folder_lists_and_serves_the_good_models(folder, models):
    pipe(folder / "x.gguf")
    local = build_plugin(LlamaCpp, "local", model=str(models["full"]), context=4096, threads=1)
    async with gateway([local]) as running:
        bad = await running.post(request_body(model="local/x"))
        assert bad.status_code == 503
        assert "not a regular file" in bad.text
        good = await running.post(request_body(model="local/full", max_tokens=4))
        assert good.status_code == 200, good.text


@pytest.mark.anyio
async def test_a_header_that_is_read_slowly_delays_no_other_model(
    engine, models, folder, monkeypatch
):
    slow = tiny_gguf.write(folder / "slow.gguf")
    tiny_gguf.write(folder / "good.gguf")
    asked, go_on = threading.Event(), threading.Event()

    def read(path):
        if path == slow:
            asked.set()
            assert go_on.wait(60)
        return read_model(path)

    monkeypatch.setattr(_models, "read_model", read)
    async with engine(models["full"]) as e, anyio.create_task_group() as group:
        try:
            group.start_soon(e.backend.loader.get, "slow")
            assert await anyio.to_thread.run_sync(asked.wait, 60)
            assert (await e.backend.loader.get("good")).file.name == "good"
            assert await e.backend.models()
            assert "slow" not in e.backend.loader.loaded
        finally:
            go_on.set()


# What a header may say

WRONG_PLACES = [
    {"split__no": "one", "split__count": 3},
    {"split__no": 1.5, "split__count": 3},
    {"split__no": True, "split__count": 3},
    {"split__no": 0, "split__count": "three"},
    {"split__no": 0, "split__count": 2.5},
    {"split__no": 7, "split__count": 3},
    {"split__count": 3, "split__no": 0, "split__tensors__count": "x"},
]


@pytest.mark.parametrize("entries", WRONG_PLACES, ids=str)
def test_entries_of_another_type_are_refused_and_hide_no_other_model(
    folder, models, entries, monkeypatch
):
    monkeypatch.setattr(odd_gguf, "SPLIT", {})
    monkeypatch.setitem(odd_gguf.KINDS, float, odd_gguf.gguf.GGUFValueType.FLOAT32)
    parts = odd_gguf.split(models["full"], folder)
    odd_gguf.rewrite(models["full"], parts[0], **entries)
    tiny_gguf.write(folder / "good.gguf")
    rows = {row["model"]: row for row in json.loads(run("list", "--json")[1])}
    assert "its `split." in rows["m"]["about"]
    assert rows["good"]["architecture"] == "llama"


def sparse(path, head, size):
    path.write_bytes(head)
    os.truncate(path, size)
    return path


def test_arrays_of_too_many_items_are_refused_before_they_are_read(tmp_path):
    many = pair("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 134_000_000))
    path = sparse(tmp_path / "x.gguf", gguf(pairs=[many]), 2 << 30)
    with pytest.raises(HostileFile, match="more than 2,000,000 items up to 'tokenizer"):
        read_header(path)


def test_the_items_of_all_arrays_count_together(tmp_path):
    empty = struct.pack("<IQ", 9, 200) + struct.pack("<IQ", 0, 0) * 200
    inner = struct.pack("<IQ", 8, 1_900_000)
    pairs = [
        pair("a", 9, empty),
        pair("b", 9, empty),
        pair("c", 9, inner[:4] + struct.pack("<Q", 1_999_700)),
    ]
    path = sparse(tmp_path / "x.gguf", gguf(pairs=pairs), 1 << 30)
    with pytest.raises(HostileFile, match="more than 2,000,000 items up to 'c'"):
        read_header(path)


def test_the_texts_together_are_bounded(tmp_path):
    path = tmp_path / "x.gguf"
    each = 64 << 20
    with path.open("wb") as file:
        file.write(gguf(pairs=6))
        for number in range(6):
            file.write(string(f"k{number}") + struct.pack("<IQ", 8, each))
            file.seek(each, os.SEEK_CUR)
        file.truncate()
    with pytest.raises(HostileFile, match="its texts have more than"):
        read_header(path)


# What is printed


@pytest.mark.parametrize("title", ["Tiny [/b] model", "Tiny [red] :smile: model", "[link=x]Tiny"])
def test_a_name_with_brackets_is_printed_as_it_is(folder, models, title):
    odd_gguf.rewrite(models["full"], folder / "[b]x.gguf", general__name=title)
    for command in (("list",), ("show", "[b]x")):
        code, out = run(*command)
        assert code == 0
        assert title in out
        assert "[b]x" in out
    assert "deleted [b]x" in run("rm", "[b]x", "--yes")[1]
    assert "`[/b]`" in run("show", "[/b]")[1]


def test_a_name_cannot_control_the_terminal(folder, models):
    odd_gguf.rewrite(models["full"], folder / "x.gguf", general__name="Tiny\x1b[2J\r\nmodel")
    for command in (("list",), ("show", "x")):
        code, out = run(*command)
        assert code == 0
        assert "\x1b" not in out
        assert "Tiny\N{REPLACEMENT CHARACTER}[2J" in out
