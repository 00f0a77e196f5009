"""A model as an HTTP service (``pip install 'recbole-sibrar[serve]'``): FastAPI around a ``Recommender``.

Read-only unless it is made writable. What it accepts is bounded, nothing in a request is executed, and changes of the
catalogue wait for the answers that are being made, so that each answer is of one state.
"""

import asyncio
import math
import queue
import socket
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StrictStr, model_validator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recbole_sibrar import __version__ as VERSION
from recbole_sibrar.errors import OptionError, SibrarError, WriteError, nearest
from recbole_sibrar.serving.interface import AnyRecommender
from recbole_sibrar.serving.kept import KeptCatalogue, apply

MOST_USERS, MOST_ITEMS, LONGEST_LIST, LONGEST_HISTORY = 1024, 4096, 1000, 10_000
MOST_BYTES = 16 << 20
TOO_LARGE = f"The request is larger than {MOST_BYTES:,} bytes."
MOST_MISTAKES, LONGEST_SENTENCE = 5, 2000  # of a request, in its answer
MOST_TOGETHER = 64  # requests that are answered by one pass over the items
IDLE_SECONDS = 75  # an idle connection is kept longer than clients keep it (httpx: 5 s), lest it closes as one sends


def _check_history(user: dict[str, Any]) -> dict[str, Any]:
    history = user.get("history")
    if isinstance(history, list) and len(history) > LONGEST_HISTORY:
        raise ValueError(f"history should have at most {LONGEST_HISTORY} items, not {len(history)}")
    return user


Id = Annotated[StrictStr | StrictInt, Field(description="of the data set, or of an item that was added")]
History = Annotated[
    list[Id], Field(fail_fast=True, max_length=LONGEST_HISTORY, description="items that a new user likes")
]
Candidates = Annotated[list[Id], Field(fail_fast=True, max_length=LONGEST_HISTORY, description="rank these items only")]
Described = Annotated[
    dict[str, Any],
    AfterValidator(_check_history),
    Field(description="a new user: any of id, history, and the users' modalities by name"),
]
User = Id | History | Described
Length = Annotated[int, Field(ge=1, le=LONGEST_LIST, description="of the lists")]
Row = Annotated[dict[str, Any], Field(description="item_id and modalities by name, as in the table of items")]


class Body(BaseModel):
    """What a client sends: keys that mean nothing are refused, lest a wrong one is taken for none."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _check(cls, values: Any) -> Any:
        if isinstance(values, dict):
            _check_keys(values, cls.model_fields)
        return values


def _check_keys(keys: Iterable[str], valid: Collection[str]) -> None:
    for key in keys:
        if key not in valid:
            raise OptionError(f"Unknown key {key[:100]!r}. {nearest(key[:100], valid)}")


class Asked(Body):
    """Whom to recommend for, and what."""

    users: list[User] = Field(fail_fast=True, min_length=1, max_length=MOST_USERS)
    k: Length = 10
    candidates: Candidates | None = None
    exclude_seen: bool = True


class Scored(BaseModel):
    item: str
    score: float


class Recommended(BaseModel):
    user: str
    items: list[Scored]


class Recommendations(BaseModel):
    recommendations: list[Recommended]


class Similar(BaseModel):
    item: str
    cosine: float


class Pair(Body):
    user: User
    item: Id


class Contribution(BaseModel):
    user_modality: str
    item_modality: str
    source: str
    contribution: float


class Rows(Body):
    items: list[Row] = Field(fail_fast=True, min_length=1, max_length=MOST_ITEMS)


class Ids(Body):
    items: list[Id] = Field(fail_fast=True, min_length=1, max_length=MOST_ITEMS)


class Changed(BaseModel):
    changed: int


class Health(BaseModel):
    status: str
    model: str
    version: str
    items: int
    users: int
    writable: bool


class Worker:
    """One thread that answers one call after the other; recommendations that wait together take one pass.

    Args:
        recommender: which nothing else uses.
    """

    def __init__(self, recommender: AnyRecommender):
        self.recommender = recommender
        self._calls: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def submit(self, function: Callable[[AnyRecommender], Any]) -> Future[Any]:
        """``function(recommender)``."""
        return self._put(function, None)

    def recommend(self, asked: Asked) -> Future[Any]:
        """A list of ``Recommended``."""
        return self._put(None, asked)

    def _put(self, function: Callable[[AnyRecommender], Any] | None, asked: Asked | None) -> Future[Any]:
        future: Future = Future()
        self._calls.put((future, function, asked))
        return future

    def _next(self) -> tuple[Future[Any], Callable[[AnyRecommender], Any] | None, Asked | None]:
        """The next call whose client still waits."""
        while True:
            call = self._calls.get()
            if call[0].set_running_or_notify_cancel():
                return call

    def _work(self) -> None:
        held = None
        while True:
            future, function, asked = held or self._next()
            held, together = None, [(future, asked)]
            while asked is not None and len(together) < MOST_TOGETHER and not self._calls.empty():
                following = self._next()
                if following[2] is None or not _alike([own for _, own in together], following[2]):
                    held = following
                    break
                together.append((following[0], following[2]))
            if asked is None:
                _settle(future, function, self.recommender)
            else:
                self._answer(together)

    def _answer(self, together: list[tuple[Future[Any], Asked]]) -> None:
        if len(together) > 1:
            with suppress(Exception):  # a mistake in one of them, which is found below
                answers = self._lists([asked for _, asked in together])
                for (future, _), answer in zip(together, answers):
                    future.set_result(answer)
                return
        for future, asked in together:
            _settle(future, lambda asked: self._lists([asked])[0], asked)

    def _lists(self, several: list[Asked]) -> list[list[Recommended]]:
        """For each request its ``Recommended``."""
        first, users = several[0], [user for asked in several for user in asked.users]
        k = max(asked.k for asked in several)
        names, scores, items = self.recommender.ranked(users, k, first.candidates, first.exclude_seen)
        of_user = zip(names, scores.tolist(), items.tolist())
        directory, answers = self.recommender.directory, []
        tokens, names_of_users = directory.tokens["item"], {"id", *directory.user_keys}
        for asked in several:
            own = []
            for place, user in enumerate(asked.users):
                name, own_scores, own_items = next(of_user)
                pairs = zip(own_scores, own_items)
                found = [
                    Scored(item=tokens[n], score=score) for score, n in islice(pairs, asked.k) if score > -math.inf
                ]
                own.append(Recommended(user=name if _is_named(user, names_of_users) else f"#{place}", items=found))
            answers.append(own)
        return answers


def _alike(several: list[Asked], other: Asked) -> bool:
    """Whether another request can be answered with several, which are no larger with it than one may be."""
    first, n_users = several[0], sum(len(asked.users) for asked in several)
    fits = n_users + len(other.users) <= MOST_USERS
    return fits and first.candidates == other.candidates and first.exclude_seen == other.exclude_seen


def _is_named(user: User, keys: Collection[str]) -> bool:
    return isinstance(user, (str, int)) or isinstance(user, dict) and any(key in user for key in keys)


def _settle(future: Future[Any], function: Callable[[Any], Any], argument: Any) -> None:
    try:
        future.set_result(function(argument))
    except BaseException as error:
        future.set_exception(error)


def make_app(recommender: AnyRecommender, writable: bool = False, kept: KeptCatalogue | None = None) -> FastAPI:
    """The service.

    Args:
        writable: whether clients may add, change and remove items.
        kept: writes down each change before its client is answered.
    """
    worker = Worker(recommender)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        if kept is not None:
            await _result(worker.submit(kept.close))

    app = FastAPI(title=f"{recommender.name}, served by recbole-sibrar", version=VERSION, lifespan=lifespan)
    app.add_middleware(BoundedBodies)

    @app.exception_handler(SibrarError)
    async def refuse(_: Request, error: SibrarError) -> JSONResponse:
        detail = str(error)[:LONGEST_SENTENCE]
        return JSONResponse({"detail": detail}, status_code=507 if isinstance(error, WriteError) else 422)

    @app.exception_handler(RequestValidationError)
    async def correct(_: Request, error: RequestValidationError) -> JSONResponse:
        """Where the first mistakes are, and not what was sent, which may be long and no JSON (NaN)."""
        told = [{name: own[name] for name in ("loc", "msg", "type")} for own in error.errors()[:MOST_MISTAKES]]
        return JSONResponse({"detail": told}, status_code=422)

    async def change(what: dict[str, Any], check: Callable[[AnyRecommender], None] = lambda own: None) -> Changed:
        if not writable:
            raise HTTPException(403, "This service is read-only; start it with --writable to change items.")

        def make(own: AnyRecommender) -> None:
            check(own)
            apply(own, what)
            if kept is not None:
                kept.record(own, what)

        await _result(worker.submit(make))
        return Changed(changed=sum(map(len, what.values())))

    @app.get("/health")
    async def health() -> Health:
        """Whether it answers, and with what."""
        items = int((await _result(worker.submit(lambda own: own.directory.offered()))).sum())
        users = len(recommender.directory.tokens["user"]) - 1
        return Health(status="ok", model=recommender.name, version=VERSION, items=items, users=users, writable=writable)

    @app.post("/recommend")
    async def recommend(asked: Asked) -> Recommendations:
        """The best items for known users, histories, and users described by what is known of them."""
        return Recommendations(recommendations=await _result(worker.recommend(asked)))

    @app.get("/similar/{item:path}")
    async def similar(
        request: Request, item: str, k: Annotated[int, Query(ge=1, le=LONGEST_LIST)] = 10
    ) -> list[Similar]:
        """The items most like one."""
        _check_keys(request.query_params, ["k"])
        table = await _result(worker.submit(lambda own: own.similar_items(item, k)))
        return [Similar(item=name, cosine=value) for name, value in zip(table["similar"], table["cosine"].tolist())]

    @app.post("/explain")
    async def explain(pair: Pair) -> list[Contribution]:
        """What each pair of modalities adds to a score."""
        table = await _result(worker.submit(lambda own: own.explain(pair.user, pair.item)))
        return [Contribution(**row) for row in table.to_dict("records")]

    @app.post("/items")
    async def add(rows: Rows) -> Changed:
        """Add new items; 409 if one is there already."""
        return await change({"put": rows.items}, lambda own: _check_rows(own, rows.items, known=False))

    @app.put("/items")
    async def update(rows: Rows) -> Changed:
        """Change the columns given of items that are there; 404 if one is not."""
        return await change({"put": rows.items}, lambda own: _check_rows(own, rows.items, known=True))

    @app.post("/items/remove")
    async def remove(ids: Ids) -> Changed:
        """Offer items no longer."""
        return await change({"remove": ids.items})

    return app


async def _result(future: Future[Any]) -> Any:
    return await asyncio.wrap_future(future)


def _check_rows(recommender: AnyRecommender, rows: list[dict[str, Any]], known: bool) -> None:
    names = ("item_id", recommender.vocabulary.columns.get("item"))
    directory, encoders = recommender.directory, recommender.vocabulary.encoders
    of_pictures = [name for name, how in encoders.items() if how["kind"] == "image"]
    for row in rows:
        for name in of_pictures:
            if isinstance(row.get(name), str):
                raise HTTPException(422, f"{name} is a text; a client's files are not read here: send the vector.")
        given = [row[name] for name in names if name in row][:1]  # none at all is told when the row is read
        token = directory.token("item", given[0]).strip() if given else None
        if token is not None and known is not directory.is_offered(token):
            code, said = (404, "is not there; add it with POST") if known else (409, "is there; change it with PUT")
            raise HTTPException(code, f"Item {token!r} {said}.")


class BoundedBodies:
    """Middleware that refuses a request with more than ``MOST_BYTES``, before it is read to its end."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if said.isdigit() and int(said) > MOST_BYTES:
            return await JSONResponse({"detail": TOO_LARGE}, status_code=413)(scope, receive, send)
        n_read = 0

        async def bounded() -> Message:
            nonlocal n_read
            message = await receive()
            n_read += len(message.get("body", b""))
            if n_read > MOST_BYTES:
                raise HTTPException(413, TOO_LARGE)
            return message

        await self.app(scope, bounded, send)


def bound(host: str, port: int) -> socket.socket:
    """A socket at this address, which nobody listens to yet.

    Raises:
        OptionError: there is no such address, or it is another process'.
    """
    # asyncio answers at once, without waiting for 40 ms, at sockets that say that they are TCP's
    own = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        own.bind((host, port))
    except (OSError, OverflowError, TypeError, ValueError) as error:
        own.close()
        said = getattr(error, "strerror", None) or error
        raise OptionError(f"--host {host} --port {port} is no address to answer on ({said}); choose another.") from None
    return own


def server_of(app: ASGIApp) -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_keep_alive=IDLE_SECONDS))


def serve(own: socket.socket, recommender: AnyRecommender, writable: bool, kept: KeptCatalogue | None) -> None:
    """Answer at a ``bound`` socket until it is interrupted."""
    server = server_of(make_app(recommender, writable, kept))
    with suppress(KeyboardInterrupt):
        server.run(sockets=[own])
