"""The service answers as the class does, whoever asks at the same time, and takes no more than it should."""

import asyncio
import json
import resource
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from conftest import names, naming
from shop import Shop

from recbole_sibrar import Dataset
from recbole_sibrar.cli import main
from recbole_sibrar.errors import BusyError, DataError, OptionError, WriteError
from recbole_sibrar.serving.kept import KeptCatalogue, apply
from recbole_sibrar.serving.recommender import Recommender

httpx = pytest.importorskip("httpx")
service = pytest.importorskip("recbole_sibrar.service")


@pytest.fixture(scope="module")
def shop():
    return Shop()


@pytest.fixture(scope="module")
def checkpoint(shop, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.pth"
    tables = {"items": shop.products, "users": shop.buyers, "vectors": {"text": shop.text}}
    options = {"epochs": 1, "embedding_size": 8, "single_branch": "both", "topk": 3}
    Dataset.from_frames(shop.orders, **tables, **shop.columns).fit("SiBraR", scenario="item_cold", **options).save(path)
    return path


@contextmanager
def served(recommender, **options):
    """The address of a service in a thread."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = service.server_of(service.make_app(recommender, **options))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def client(checkpoint):
    with served(Recommender.load(checkpoint), writable=True) as address, httpx.Client(base_url=address) as client:
        yield client


@pytest.fixture
def model(checkpoint):
    return Recommender.load(checkpoint)


def pairs(answer):
    """[(user, item)] and the scores of an answer."""
    lists = answer.json()["recommendations"]
    rows = [(own["user"], found["item"], found["score"]) for own in lists for found in own["items"]]
    return [row[:2] for row in rows], [row[2] for row in rows]


JSON = {"content-type": "application/json"}

ASKED = {
    "known": {"users": ["b2", "b41"], "k": 5},
    "everything": {
        "users": ["b2", ["p2", "p4"], {"id": "me", "history": ["p1"], "city": "B"}, {"city": "A"}],
        "k": 100,
    },
    "candidates": {"users": ["b3"], "candidates": ["p1", "p40", "p41"], "exclude_seen": False},
    "twice": {"users": ["b2", "b2"], "k": 1},
    "named as in the table": {"users": [{"buyer": "me", "history": ["p1"]}, {"user_id": "you", "city": "A"}], "k": 3},
}


@pytest.mark.parametrize("case", ASKED)
def test_recommendations_are_those_of_the_class(client, model, case):
    answer = client.post("/recommend", json=ASKED[case])
    assert answer.status_code == 200
    table = model.recommend(**ASKED[case])
    found, scores = pairs(answer)
    assert found == list(table[["user", "item"]].itertuples(index=False, name=None))
    assert np.allclose(scores, table["score"], atol=1e-6)


def test_similar_items_and_explanations_are_those_of_the_class(client, model):
    found = client.get("/similar/p2", params={"k": 5}).json()
    assert [row["item"] for row in found] == model.similar_items("p2", 5)["similar"].tolist()
    for user in ("b2", ["p2"], {"city": "B"}):
        found = client.post("/explain", json={"user": user, "item": "p40"}).json()
        pd.testing.assert_frame_equal(pd.DataFrame(found), model.explain(user, "p40"), check_dtype=False, atol=1e-6)


def test_an_item_may_have_a_slash_in_its_id(client, shop):
    for item in ("a/b", "/", "a b?c#d/%2F"):
        assert client.post("/items", json={"items": [{"sku": item, "tags": "metal"}]}).status_code == 200
        answer = client.get(f"/similar/{quote(item, safe='')}", params={"k": 1})
        assert answer.status_code == 200 and len(answer.json()) == 1
    answer = client.put("/items", json={"items": [{"item_id": None, "tags": "metal"}]})
    assert answer.status_code == 422 and "None is no item id" in answer.json()["detail"]


def test_items_are_added_changed_and_removed_as_by_the_class(client, model, shop):
    row = json.loads(shop.new_product(2, "new").to_json(orient="records"))[0]
    assert client.post("/items", json={"items": [row]}).json() == {"changed": 1}
    assert client.put("/items", json={"items": [{"sku": "p3", "tags": "green tea"}]}).json() == {"changed": 1}
    assert client.post("/items/remove", json={"items": ["p6"]}).json() == {"changed": 1}
    model.add_items(pd.DataFrame([row]))
    model.add_items(pd.DataFrame({"sku": ["p3"], "tags": ["green tea"]}))
    model.remove_items(["p6"])
    found, scores = pairs(client.post("/recommend", json={"users": ["b2"], "k": 100}))
    table = model.recommend(["b2"], k=100)
    assert [item for _, item in found] == table["item"].tolist() and np.allclose(scores, table["score"], atol=1e-6)
    assert client.get("/health").json()["items"] == shop.n_products
    assert client.post("/items", json={"items": [row]}).status_code == 409
    assert client.put("/items", json={"items": [{"sku": "p6"}]}).status_code == 404
    assert client.post("/items", json={"items": [{"sku": "p6"}]}).status_code == 200


def test_of_each_item_the_columns_that_its_own_row_gives_are_changed(client, model):
    rows = [{"sku": "p9", "price": 2}, {"sku": "p10", "tags": "green tea", "since": None}, {"sku": "p11"}]
    assert client.put("/items", json={"items": rows}).status_code == 200
    for row in rows:
        model.add_items(pd.DataFrame([row], dtype=object))
    found, scores = pairs(client.post("/recommend", json={"users": ["b2"], "k": 100}))
    table = model.recommend(["b2"], k=100)
    assert [item for _, item in found] == table["item"].tolist() and np.allclose(scores, table["score"], atol=1e-6)


def test_a_service_is_read_only_unless_it_is_said_otherwise(checkpoint):
    with served(Recommender.load(checkpoint)) as address, httpx.Client(base_url=address) as client:
        before = client.get("/health").json()
        assert before["status"] == "ok" and before["writable"] is False
        new, old = {"items": [{"sku": "n"}]}, {"items": [{"sku": "p1"}]}
        asked = ("POST", "/items", new), ("PUT", "/items", old), ("POST", "/items/remove", {"items": ["p1"]})
        for method, path, body in asked:
            answer = client.request(method, path, json=body)
            assert answer.status_code == 403 and "read-only; start it with --writable" in answer.json()["detail"]
        assert client.get("/health").json() == before


@pytest.mark.parametrize(
    "path, body, code, message",
    [
        ("/recommend", {"users": ["b99"]}, 422, "Unknown user id 'b99'. Did you mean"),
        ("/recommend", {"users": [{"citty": "A"}]}, 422, "'citty' | 'city'"),
        ("/recommend", {"users": ["b2"], "top_k": 5}, 422, "'top_k' | Valid: candidates, exclude_seen, k, users"),
        ("/recommend", {"users": ["b2"], "candidate": ["p1"]}, 422, "'candidate' | Did you mean 'candidates'?"),
        ("/explain", {"users": "b2", "item": "p1"}, 422, "'users' | 'user'"),
        ("/items", {"items": [{"sku": "n"}], "known": True}, 422, "'known' | items"),
        ("/recommend", {"users": []}, 422, "users"),
        ("/recommend", {"users": ["b2"], "k": 0}, 422, "greater than or equal to 1"),
        ("/recommend", {"users": ["b2"], "k": 10**9}, 422, "less than or equal to 1000"),
        ("/recommend", {"users": ["b2"] * 2000}, 422, "at most 1024"),
        ("/recommend", {"users": [["p1"] * 20_000]}, 422, "at most 10000"),
        ("/recommend", {"users": [{"history": ["p1"] * 20_000}]}, 422, "at most 10000"),
        ("/recommend", {"users": [None]}, 422, "users"),
        ("/recommend", {"users": [True]}, 422, "users"),
        ("/recommend", {"users": [["p1", True]]}, 422, "users"),
        ("/recommend", {"users": ["x" * (17 << 20)]}, 413, "larger | 16,777,216"),
        ("/items", {"items": [{"sku": "n", "price": "soon"}]}, 422, "price | 'soon' | number"),
        ("/items", {"items": [{"sku": "n", "price": "\ud800"}]}, 422, "price | number"),
        ("/items", {"items": [{"sku": "\ud800n"}]}, 422, "is no item id"),
        ("/items", {"items": [{"sku": None}]}, 422, "None is no item id"),
        ("/items", {"items": [{"price": 1}]}, 422, "one must be 'sku' or 'item_id'"),
        ("/items", {"items": [{"sku": "n", "text": [1, 2]}]}, 422, "2 numbers; expected 3"),
        ("/items", {"items": [{"sku": "n"}] * 5000}, 422, "at most 4096"),
        ("/explain", {"user": "b2", "item": "p99"}, 422, "Unknown item id 'p99'"),
    ],
)
def test_what_is_wrong_or_too_much_is_refused_with_a_sentence(client, path, body, code, message):
    answer = client.post(path, content=json.dumps(body), headers=JSON)
    assert answer.status_code == code and names(answer.text, message)
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        '{"users": [NaN]}',
        '{"users": [1e999]}',
        '{"users": ["b2"], "k": NaN}',
        json.dumps({"users": [[True] * 9000] * 40}),
        json.dumps({"users": [[True]] * 1000, "candidates": [None] * 10_000}),
        json.dumps({"users": ["b2"], "k": "x" * 10**6}),
        json.dumps({"users": ["x" * 10**6]}),
    ],
)
def test_what_is_wrong_is_told_in_few_words_and_at_once(client, body):
    answer = client.post("/recommend", content=body, headers=JSON)
    assert answer.status_code == 422 and len(answer.content) < 4000 and answer.elapsed.total_seconds() < 5


def test_parameters_of_an_address_that_mean_nothing_are_named(client):
    answer = client.get("/similar/p2", params={"top_k": 5})
    assert answer.status_code == 422 and names(answer.text, "'top_k' | k")


def test_files_are_not_read_for_a_client(checkpoint):
    recommender = Recommender.load(checkpoint)
    recommender.vocabulary.encoders["text"] = {"kind": "image", "model": "some/model"}
    with served(recommender, writable=True) as address, httpx.Client(base_url=address) as client:
        answer = client.post("/items", json={"items": [{"sku": "n", "text": "/etc/passwd"}]})
        assert answer.status_code == 422 and "files are not read here" in answer.json()["detail"]
        assert client.post("/items", json={"items": [{"sku": "n", "text": [1, 2, 3]}]}).status_code == 200


def test_a_body_of_unsaid_length_is_bounded_too(client):
    def endless():
        for _ in range(40):
            yield b"x" * (1 << 20)

    try:
        assert client.post("/recommend", content=endless()).status_code == 413
    except httpx.WriteError:
        pass  # the service has hung up before all was sent
    assert client.get("/health").status_code == 200


def test_the_schema_names_every_answer(client):
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) == {
        "/health", "/recommend", "/similar/{item}", "/explain", "/items", "/items/remove"
    }  # fmt: skip
    for path in schema["paths"].values():
        for method in path.values():
            assert "$ref" in json.dumps(method["responses"]["200"]) and method["description"]


def test_a_hundred_clients_at_once_lose_nothing(checkpoint, model, shop):
    """Each asks for its own users while items come and go; every answer is the class's, or that with the new items."""
    users = [f"b{n}" for n in range(shop.n_buyers)]
    without = {user: model.recommend([user], k=5)["item"].tolist() for user in users}
    new = [json.loads(shop.new_product(n, f"new{n}").to_json(orient="records"))[0] for n in range(24, 44)]

    async def ask(client, number):
        answers = []
        for turn in range(2):
            user = users[(number + turn) % len(users)]
            answer = await client.post("/recommend", json={"users": [user, ["p1"]], "k": 5 + number % 3})
            answers.append((user, answer))
        if number < len(new):
            assert (await client.post("/items", json={"items": [new[number]]})).status_code == 200
        return answers

    async def everyone(address):
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(base_url=address, limits=limits, timeout=60) as client:
            return await asyncio.gather(*(ask(client, number) for number in range(100)))

    recommender = Recommender.load(checkpoint)
    with served(recommender, writable=True) as address:
        answers = [answer for own in asyncio.run(everyone(address)) for answer in own]
    assert len(answers) == 200 and {answer.status_code for _, answer in answers} == {200}
    for user, answer in answers:
        own, history = answer.json()["recommendations"]
        assert own["user"] == user and history["user"] == "#1" and len(own["items"]) in (5, 6, 7)
        old = [found["item"] for found in own["items"] if not found["item"].startswith("new")]
        assert old[:5] == without[user][: len(old[:5])]
    assert {f"new{n}" for n in range(24, 44)} <= set(recommender.directory.tokens["item"])


@contextmanager
def command(*arguments):
    """The process of a service, and a client of it; the process ends as a service is ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    call = [sys.executable, "-m", "recbole_sibrar.cli", "serve", f"--port={port}", *arguments]
    process = subprocess.Popen(call, stdout=subprocess.PIPE, text=True)
    try:
        while f"SiBraR answers on http://127.0.0.1:{port}" not in (line := process.stdout.readline()):
            assert "made again" in line
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:  # which asks at once, and once
            yield process, client
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("n_users, passes", [(1, [9]), (300, [900, 900, 900])])
def test_requests_that_wait_share_a_pass_that_is_no_larger_than_one_may_be(model, monkeypatch, n_users, passes):
    original, sizes, begin = model.ranked, [], threading.Event()
    monkeypatch.setattr(model, "ranked", lambda users, *rest: sizes.append(len(users)) or original(users, *rest))
    worker = service.Worker(model)
    worker.submit(lambda _: begin.wait())
    answers = [worker.recommend(service.Asked(users=["b2"] * n_users, k=3)) for _ in range(9)]
    begin.set()
    assert all(len(answer.result()) == n_users for answer in answers) and sizes == passes


def test_a_service_that_is_killed_goes_on_with_every_change_that_it_has_confirmed(checkpoint, capsys):
    given = [f"--checkpoint={checkpoint}", "--writable", "--save=saved.pth"]
    with command(*given) as (process, client):
        assert client.get("/health").json()["model"] == "SiBraR"
        assert client.post("/items", json={"items": [{"sku": "new", "tags": "drink"}]}).json() == {"changed": 1}
        assert client.put("/items", json={"items": [{"sku": "new", "tags": "green tea"}]}).status_code == 200
        assert client.post("/items/remove", json={"items": ["p6"]}).status_code == 200
        before = client.post("/recommend", json={"users": ["b2"], "k": 100}).json()
        assert not Path("saved.pth").exists()
        process.kill()
    with command(*given) as (_, client):
        assert client.post("/recommend", json={"users": ["b2"], "k": 100}).json() == before
    assert not Path("saved.pth.journal").exists()
    found = Recommender.load("saved.pth").recommend(["b2"], k=100)
    assert found["item"].tolist() == [own["item"] for own in before["recommendations"][0]["items"]]
    assert main(["serve", f"--checkpoint={checkpoint}", "--save=x.pth"]) == 2
    assert "--save has nothing to save" in capsys.readouterr().err


def test_new_items_are_added_once_and_stay_as_clients_have_changed_them(checkpoint):
    given = [f"--checkpoint={checkpoint}", "--writable", "--save=saved.pth", "--new-items=new.csv"]
    found = []
    for tables in (["new", "gone", "p3"], ["new", "gone", "p3"], ["new", "p3", "newer"]):
        pd.DataFrame({"sku": tables, "tags": "metal", "price": 1}).to_csv("new.csv", index=False)
        with command(*given) as (_, client):
            if not found:
                assert client.put("/items", json={"items": [{"sku": "new", "price": 80}]}).status_code == 200
                assert client.post("/items/remove", json={"items": ["gone"]}).status_code == 200
            found.append(dict(zip(*pairs(client.post("/recommend", json={"users": ["b2"], "k": 100})))))
    assert found[1] == pytest.approx(found[0], abs=1e-6)
    assert found[2].pop(("b2", "newer")) and found[2] == pytest.approx(found[0], abs=1e-6)


def test_a_service_that_does_not_begin_leaves_nothing_behind_and_takes_nothing_away(kept, checkpoint, model):
    assert main(["serve", "--checkpoint=nowhere.pth", "--writable", "--save=x.pth"]) == 2
    assert not Path("x.pth.journal").exists()
    kept.record(model, {"remove": ["p99"]})
    kept.release()
    assert main(["serve", f"--checkpoint={checkpoint}", "--writable", "--save=saved.pth"]) == 2
    assert "p99" in kept.journal.read_text()


@pytest.mark.parametrize(
    "given",
    [["--port={taken}"], ["--port=99999"], ["--port=-1"], ["--host=no.such.host.invalid"], ["--host=" + "x" * 300]],
)
def test_an_address_that_cannot_be_had_is_said_before_anything_is_loaded(given, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        given = [argument.format(taken=other.getsockname()[1]) for argument in given]
        assert main(["serve", "--checkpoint=nowhere.pth", *given]) == 2
    assert names(capsys.readouterr().err, f"recbole-sibrar: | {given[0].partition('=')[0]} | choose another")


def same_items(one, other):
    tables = [own.recommend(["b2"], k=100).set_index("item")["score"] for own in (one, other)]
    return set(tables[0].index) == set(tables[1].index) and np.allclose(
        tables[0], tables[1][tables[0].index], atol=1e-6
    )


@pytest.fixture
def kept():
    kept = KeptCatalogue("saved.pth")
    yield kept
    kept._file.close()


def killed_and_restarted(kept, checkpoint):
    kept._file.close()
    after = KeptCatalogue(kept.path)
    recommender = after.newest(Recommender.load(checkpoint))
    after.replay(recommender)
    return after, recommender


CHANGES = [
    {"put": [{"sku": "new", "tags": "drink", "price": 3}]},
    {"put": [{"sku": "p3", "tags": None}, {"sku": "new", "tags": "tea"}]},
    {"remove": ["p6", "new"]},
    {"put": [{"sku": "p6", "price": 1.5}]},
    {"put": [{"sku": "p9", "price": 2}, {"sku": "p10", "tags": "tea"}, {"sku": "newer"}]},
]


@pytest.mark.parametrize("saved_after", [None, *range(len(CHANGES))])
@pytest.mark.parametrize("emptied", [True, False])
def test_wherever_it_was_killed_the_catalogue_is_the_same(kept, checkpoint, model, saved_after, emptied):
    """Also between the saving of the model and the emptying of the journal."""
    for n, change in enumerate(CHANGES):
        apply(model, change)
        kept.record(model, change)
        if n == saved_after:
            kept.save(model) if emptied else model.save(kept.path)
    _, restored = killed_and_restarted(kept, checkpoint)
    assert same_items(restored, model)


def test_a_line_that_was_being_written_counts_as_never_asked_for(kept, checkpoint, model):
    for change in CHANGES[:2]:
        apply(model, change)
        kept.record(model, change)
    with open(kept.journal, "ab") as file:
        file.write(json.dumps(CHANGES[2]).encode()[:-3])
    again, restored = killed_and_restarted(kept, checkpoint)
    assert same_items(restored, model)
    apply(restored, CHANGES[2])
    again.record(restored, CHANGES[2])
    _, restored = killed_and_restarted(again, checkpoint)
    apply(model, CHANGES[2])
    assert same_items(restored, model)


def test_a_line_for_which_there_was_no_space_is_no_part_of_the_next(kept, checkpoint, model):
    apply(model, CHANGES[0])
    kept.record(model, CHANGES[0])
    size, limits = kept.journal.stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, limits[1]))
    try:
        with pytest.raises(WriteError, match="saved.pth.journal"):
            kept.record(model, CHANGES[1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    apply(model, CHANGES[3])
    kept.record(model, CHANGES[3])
    assert same_items(killed_and_restarted(kept, checkpoint)[1], model)


def test_a_long_journal_becomes_a_saved_model(kept, checkpoint, model, monkeypatch):
    monkeypatch.setattr("recbole_sibrar.serving.kept.LARGEST_JOURNAL", 50)
    for change in CHANGES[:2]:
        apply(model, change)
        kept.record(model, change)
    assert kept.path.exists() and kept.journal.stat().st_size == 0
    assert same_items(killed_and_restarted(kept, checkpoint)[1], model)


def test_what_is_kept_belongs_to_one_service_and_one_model(kept, checkpoint, model, shop, tmp_path):
    with pytest.raises(BusyError, match=naming("service | saved.pth.journal")):
        KeptCatalogue("saved.pth")
    shop_without_orders = Dataset.from_frames(items=shop.products, item_column="sku").by_content()
    shop_without_orders.save(kept.path)
    with pytest.raises(OptionError, match="saved.pth holds another model"):
        kept.newest(model)
    kept.record(model, {"put": [{"sku": "n", "color": "red"}]})
    with pytest.raises(DataError, match=naming("line 2 | saved.pth.journal | 'color' | Remove")):
        kept.replay(model)


def test_changes_of_a_model_are_not_made_with_one_that_was_trained_again(kept, checkpoint, model, shop):
    kept.record(model, CHANGES[0])
    kept._file.close()
    other = Dataset.from_frames(items=shop.products, item_column="sku").by_content()
    after = KeptCatalogue(kept.path)
    with pytest.raises(OptionError, match="saved.pth.journal holds changes .* of another model"):
        after.replay(other)
    assert after.replay(Recommender.load(checkpoint)) == 1
    after._file.close()


def test_a_change_that_cannot_be_kept_is_not_confirmed(kept, checkpoint, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    with served(Recommender.load(checkpoint), writable=True, kept=kept) as address:
        with httpx.Client(base_url=address) as client, monkeypatch.context() as patched:
            patched.setattr("recbole_sibrar.serving.kept.os.fsync", full)
            answer = client.post("/items", json={"items": [{"sku": "new"}]})
            assert answer.status_code == 507 and "No space left on device" in answer.json()["detail"]
            assert kept.journal.read_bytes() == b""
            bad = client.post("/items", json={"items": [{"sku": "n", "price": "soon"}]})
            assert bad.status_code == 422 and kept.journal.read_bytes() == b""


def test_an_answer_is_sent_at_once_and_does_not_wait_for_more_to_send():
    async def delays_nothing():
        connected = asyncio.get_running_loop().create_future()
        server = await asyncio.start_server(lambda reader, writer: connected.set_result(writer), sock=own)
        _, writer = await asyncio.open_connection(*own.getsockname())
        accepted = await connected
        flag = accepted.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        for one in (writer, accepted, server):
            one.close()
        return flag

    with service.bound("127.0.0.1", 0) as own:
        assert asyncio.run(delays_nothing())
