"""The page as a Starlette application: what is at which address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from search.core.types import SearchError
from search.web.pages import experiments, lineage, overview
from search.web.site import HERE, Site

STATIC = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
COMPRESSION = 4  # the usual 9 takes thirty times as long, for a sixth less to send
ONLY_SHOWS = "This page only shows: there is no repository beside the search."


def address_of(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def application(site: Site, middleware: list[Middleware]) -> Starlette:
    """middleware: around all of it."""

    def shown(name: str, values: Callable[[], dict[str, Any] | None]) -> Callable[[Request], Response]:
        return lambda request: site.page(name, address_of(request), values)

    def table(request: Request) -> Response:
        query = experiments.Query.of(dict(request.query_params))
        return site.page("experiments.html", address_of(request), lambda: experiments.table(site.source, query))

    def one(request: Request) -> Response:
        number = int(request.path_params["number"])
        return site.page("experiment.html", address_of(request), lambda: experiments.experiment(site.source, number))

    def photos(request: Request) -> Response:
        return site.page("photos.html", address_of(request), site.photos_shown if site.with_photos else lambda: None)

    def photo(request: Request) -> Response:
        if not site.with_photos:
            return Response(status_code=404)
        try:
            return Response(site.photos().image(int(request.path_params["position"])), media_type="image/jpeg")
        except SearchError:
            return Response(status_code=404)

    def points(request: Request) -> Response:
        return JSONResponse(site.points())

    def static(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            return Response(status_code=404)
        return Response((HERE / "static" / name).read_bytes(), media_type=STATIC[name])

    async def events(request: Request) -> Response:
        return EventSourceResponse(site.versions(), ping=15)

    def notes(request: Request) -> Response:
        return site.notes(address_of(request))

    async def write_notes(request: Request) -> Response:
        form = await request.form()
        text, before = str(form.get("text", "")), str(form.get("mark", ""))
        problem = await run_in_threadpool(site.save_notes, text, before)
        if problem:
            return await run_in_threadpool(site.notes, address_of(request), problem, text)
        return RedirectResponse("/notes", 303)

    async def request_of(request: Request) -> Response:
        if site.ask is None:
            return await said(ONLY_SHOWS, 409)
        try:
            await run_in_threadpool(site.ask, request.path_params["operation"])
        except (SearchError, OSError) as error:
            return await said(str(error), 409)
        site.forget()
        return RedirectResponse("/", 303)

    async def hand_in(request: Request) -> Response:
        form = await request.form()
        upload, idea = form.get("file"), str(form.get("idea", ""))
        source = str(form.get("source", ""))
        if upload is not None and not isinstance(upload, str) and upload.filename:
            source = (await upload.read()).decode(errors="replace")
        if site.propose is None:
            return await said(ONLY_SHOWS, 409)
        try:
            found = await run_in_threadpool(site.propose, source.replace("\r\n", "\n"), idea)
        except (SearchError, OSError) as error:
            return await said(str(error), 409)
        site.forget()
        return await said(f"Handed in: {found['status']}. The page of proposals will say what becomes of it.", 200)

    async def said(words: str, code: int) -> Response:
        return await run_in_threadpool(site.said, words, code)

    async def nothing(request: Request, error: Exception) -> Response:
        return await run_in_threadpool(site.nothing, request.url.path)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        following = asyncio.create_task(site.follow())
        yield
        following.cancel()

    return Starlette(
        routes=[
            Route("/", shown("overview.html", lambda: overview.overview(site.source))),
            Route("/experiments", table),
            Route("/experiments/{number:int}", one),
            Route("/lineage", shown("lineage.html", lambda: lineage.lineage(site.source))),
            Route("/axes", shown("axes.html", site.axes)),
            Route("/proposals", shown("proposals.html", lambda: lineage.proposals(site.source))),
            Route("/photos", photos),
            Route("/photos/{position:int}.jpg", photo),
            Route(
                "/audit",
                shown("audit.html", lambda: site.source.records.audit and {"audit": site.source.records.audit}),
            ),
            Route("/cluster", shown("cluster.html", lambda: lineage.cluster(site.source))),
            Route("/notes", notes),
            Route("/notes", write_notes, methods=["POST"]),
            Route("/ask/{operation}", request_of, methods=["POST"]),
            Route("/propose", hand_in, methods=["POST"]),
            Route("/points", points),
            Route("/events", events),
            Route("/static/{name}", static),
        ],
        middleware=[*middleware, Middleware(GZipMiddleware, minimum_size=1000, compresslevel=COMPRESSION)],
        lifespan=lifespan,
        exception_handlers={404: nothing},
    )
