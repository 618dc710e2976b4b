"""What somebody does to a finished log, who can write its files but has no signing key."""

from __future__ import annotations

import hashlib
import json
import shutil

import orjson
import pytest
from logs import days, files, log_of, records, run, verified

from plugway_audit_log._chain import Signer, canonical
from plugway_audit_log._folder import KEY_FILE

pytestmark = pytest.mark.anyio
COUNT = 40


@pytest.fixture
async def folder(tmp_path):
    """A log of two files: two runs of a gateway, with a checkpoint every ten records."""
    await log_of(tmp_path, COUNT // 2, checkpoint_records=10)
    await log_of(tmp_path, COUNT // 2, checkpoint_records=10)
    assert [r["broken"] for r in verified(tmp_path)] == [None]
    return tmp_path


def lines(folder):
    return files(folder)[0].read_bytes().splitlines()


def write(folder, new):
    files(folder)[0].write_bytes(b"\n".join(new) + b"\n")


def rehashed(raw, **changes):
    """A record with other members, another `prev` and its hash computed again."""
    data = {**orjson.loads(raw), **changes}
    data.pop("hash")
    content = canonical(data)
    digest = hashlib.sha256(content).hexdigest()
    return content[:-1] + b',"hash":"' + digest.encode() + b'"}'


def relinked(rows, start):
    """The records from `start` on, linked and hashed again, as a forger without the key would."""
    rows = list(rows)
    for at in range(start, len(rows)):
        prev = orjson.loads(rows[at - 1])["hash"]
        rows[at] = rehashed(rows[at], prev=prev, n=at)
    return rows


def is_exchange(raw):
    return orjson.loads(raw)["kind"] == "exchange"


def an_exchange(rows, number=5):
    return [at for at, raw in enumerate(rows) if is_exchange(raw)][number]


def broken(folder, *more):
    (report,) = verified(folder, *more)
    return report["broken"] and (report["broken"]["why"], report["broken"]["what"])


async def test_a_changed_value_is_found(folder):
    rows = lines(folder)
    at = an_exchange(rows)
    rows[at] = rows[at].replace(b'"caller":"owner"', b'"caller":"other"')
    write(folder, rows)
    assert broken(folder) == ("changed", f"record {at} does not match its hash")


async def test_a_single_changed_byte_of_the_hash_is_found(folder):
    rows = lines(folder)
    at = an_exchange(rows)
    last = b"0" if rows[at][-3:-2] != b"0" else b"1"
    rows[at] = rows[at][:-3] + last + rows[at][-2:]
    write(folder, rows)
    assert broken(folder) == ("changed", f"record {at} does not match its hash")


async def test_a_change_with_its_hash_computed_again_is_found_at_the_next_record(folder):
    rows = lines(folder)
    at = an_exchange(rows)
    rows[at] = rehashed(rows[at], caller="other")
    write(folder, rows)
    why, what = broken(folder)
    assert why == "replaced"
    assert what.startswith(f"record {at + 1} does not follow")


async def test_a_rewritten_rest_is_found_at_the_next_checkpoint(folder):
    rows = lines(folder)
    at = an_exchange(rows)
    rows[at] = rehashed(rows[at], caller="other")
    write(folder, relinked(rows, at + 1))
    why, what = broken(folder)
    assert why == "unsigned"
    assert what.endswith("is not signed with this log's key")


async def test_a_rewritten_rest_without_checkpoints_is_found(folder):
    rows = lines(folder)
    at = an_exchange(rows)
    rows[at] = rehashed(rows[at], caller="other")
    kept = [r for n, r in enumerate(rows) if n <= at or orjson.loads(r)["kind"] != "checkpoint"]
    write(folder, relinked(kept, at + 1))
    assert broken(folder)[0] == "unsigned"


async def test_a_rewritten_end_after_the_last_checkpoint_is_found_by_the_signed_head(folder):
    rows = lines(folder)
    checkpoints = [at for at, raw in enumerate(rows) if orjson.loads(raw)["kind"] == "checkpoint"]
    at = next(n for n in range(checkpoints[-2] + 1, len(rows)) if is_exchange(rows[n]))
    rows[at] = rehashed(rows[at], caller="other")
    write(folder, relinked(rows[: checkpoints[-1]], at + 1))
    assert broken(folder)[0] == "truncated"


async def test_a_removed_record_is_found(folder):
    rows = lines(folder)
    at = an_exchange(rows)
    write(folder, rows[:at] + rows[at + 1 :])
    assert broken(folder) == ("removed", f"record {at} is missing before record {at + 1}")


async def test_several_removed_records_are_named(folder):
    rows = lines(folder)
    write(folder, rows[:5] + rows[9:])
    assert broken(folder) == ("removed", "record 5 to 8 is missing before record 9")


async def test_an_inserted_copy_is_found(folder):
    rows = lines(folder)
    at = an_exchange(rows)
    write(folder, [*rows[: at + 3], rows[at], *rows[at + 3 :]])
    assert broken(folder) == ("inserted", f"record {at} again: a copy of a record")


async def test_an_inserted_forgery_is_found(folder):
    rows = lines(folder)
    at = an_exchange(rows)
    forged = rehashed(rows[at], caller="somebody", n=at, prev=orjson.loads(rows[at - 1])["hash"])
    write(folder, [*rows[:at], forged, *rows[at:]])
    assert broken(folder) == ("inserted", f"record {at} again: a second record with this number")


async def test_swapped_records_are_found(folder):
    rows = lines(folder)
    rows[6], rows[7] = rows[7], rows[6]
    write(folder, rows)
    assert broken(folder) == ("reordered", "record 7 comes before 6, which is further below")


async def test_a_cut_end_is_found_by_the_signed_head(folder):
    rows = lines(folder)
    write(folder, rows[:-2])
    why, what = broken(folder)
    assert why == "truncated"
    assert f"record {len(rows) - 2} to {len(rows) - 1}) was cut off" in what


async def test_a_cut_end_without_the_head_is_found(folder):
    write(folder, lines(folder)[:-2])
    (folder / "gateway-1/head.json").unlink()
    assert broken(folder) == ("removed", "the signed head is missing")


async def test_a_forged_head_is_found(folder):
    head = folder / "gateway-1/head.json"
    rows = lines(folder)[:-2]
    write(folder, rows)
    last = orjson.loads(rows[-1])
    forged = {**json.loads(head.read_text()), "n": last["n"], "hash": last["hash"]}
    head.write_text(json.dumps(forged))
    assert broken(folder) == ("unsigned", "the head is not signed with this log's key")


async def test_a_log_signed_with_another_key_is_found(folder, tmp_path_factory):
    other = Signer(Signer.new_seed())
    forged, prev = [], "0" * 64
    for number, data in enumerate(records(folder)):
        data = {**data, "n": number, "prev": prev, "caller": "nobody"}
        if data["kind"] == "checkpoint":
            data = other.signed({k: v for k, v in data.items() if k not in ("sig", "key")})
        content = canonical(data)
        prev = hashlib.sha256(content).hexdigest()
        forged.append(content[:-1] + b',"hash":"' + prev.encode() + b'"}')
    write(folder, forged)
    (folder / "gateway-1/key.pub").write_text(other.public)
    assert broken(folder)[0] == "unsigned"
    # With the private key replaced too, only a public key kept elsewhere helps.
    code, genuine = run("key", "--folder", folder)
    assert code == 0
    (folder / KEY_FILE).unlink()
    assert broken(folder, "--key", genuine.strip())[0] == "unsigned"


async def test_a_removed_file_is_found(tmp_path):
    days(tmp_path, "2026-01-01", "2026-01-02")
    files(tmp_path)[0].unlink()
    why, what = broken(tmp_path)
    assert why == "removed"
    assert "no signed statement says that it was pruned" in what


async def test_a_statement_of_pruning_of_another_chain_does_not_hide_a_removed_file(tmp_path):
    days(tmp_path, "2026-01-01", "2026-01-02")
    signer = Signer((tmp_path / KEY_FILE).read_text())
    statement = {"kind": "pruned", "chain": "gateway-2", "n": 3, "hash": "0" * 64, "time": ""}
    path = tmp_path / "gateway-1/pruned.json"
    path.write_text(json.dumps(signer.signed(statement)))
    files(tmp_path)[0].unlink()
    assert broken(tmp_path) == ("replaced", "it belongs to another chain")


async def test_records_of_another_chain_are_found(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    await log_of(other, 3)
    rows = lines(folder)
    write(folder, [*rows[:5], *lines(other)[5:6], *rows[6:]])
    assert broken(folder)[0] in ("replaced", "inserted")


async def test_a_line_that_is_no_record_is_found(folder):
    rows = lines(folder)
    write(folder, [*rows[:5], b'{"caller":"owner"}', *rows[5:]])
    assert broken(folder) == ("changed", "this line is not a record")


async def test_a_torn_line_in_the_middle_that_no_checkpoint_states_is_found(folder):
    rows = lines(folder)
    write(folder, [*rows[:5], rows[5][:40], *rows[6:]])
    assert broken(folder)[0] in ("changed", "removed")


async def test_the_whole_log_as_it_was_before_is_found_only_with_heads_kept_elsewhere(
    folder, tmp_path_factory
):
    """Files alone cannot show that they are an older copy of themselves."""
    kept = tmp_path_factory.mktemp("kept") / "heads"
    kept.write_text(run("heads", "--folder", folder)[1])
    older = tmp_path_factory.mktemp("older")
    shutil.rmtree(folder / "gateway-1")
    shutil.copytree(folder, older, dirs_exist_ok=True)
    assert verified(folder, "--heads", kept)[0]["broken"]["what"] == "the whole chain is missing"


async def test_an_older_copy_is_found_with_heads_kept_elsewhere(tmp_path):
    await log_of(tmp_path / "log", 3)
    shutil.copytree(tmp_path / "log", tmp_path / "copy")
    await log_of(tmp_path / "log", 3)
    kept = tmp_path / "heads"
    kept.write_text(run("heads", "--folder", tmp_path / "log")[1])
    assert verified(tmp_path / "log", "--heads", kept)[0]["broken"] is None
    assert verified(tmp_path / "copy")[0]["broken"] is None  # the limit of what files can show
    assert verified(tmp_path / "copy", "--heads", kept)[0]["broken"]["why"] == "truncated"
