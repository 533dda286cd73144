"""The web application: the page, the scenes and `POST /api/segment`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, File, Form, HTTPException, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from lisa_core.discovery import core_version
from lisa_core.errors import LisaError
from lisa_core.segmenter import Segmenter
from lisa_core.server.answers import Answers
from lisa_core.server.limits import LIMITS, BodyLimit, Limits
from lisa_core.server.scenes import SCENES, made_up_scene

_PAGE = Path(__file__).with_name("page.html")
_HEADERS = {
    # Nothing is loaded from elsewhere, whatever a sentence or a file's name holds.
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data: blob:; connect-src 'self'; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_FORM = "send multipart/form-data with a file `image` and one `sentences` for each sentence"


def create_app(segmenter: Segmenter, name: str = "model", limits: Limits = LIMITS) -> FastAPI:
    """The application in which a model answers.

    Args:
        segmenter: whose model it is; used by one request at a time.
        name: what the page calls it.
        limits: of each request.
    """
    # FastAPI's own documentation pages load scripts from elsewhere.
    app = FastAPI(title="lisa demo", version=core_version(), docs_url=None, redoc_url=None)
    app.add_middleware(BodyLimit, most=limits.upload)
    answers = Answers(segmenter, limits)

    @app.get("/", response_class=HTMLResponse)
    def page() -> HTMLResponse:
        """The page."""
        return HTMLResponse(_PAGE.read_text(encoding="utf-8"), headers=_HEADERS)

    @app.get("/api/about")
    def about() -> dict[str, Any]:
        """Which model answers, what a request may ask for, and scenes to begin with."""
        scenes = [
            {"picture": f"/api/scenes/{number}.png", "sentences": made_up_scene(number).sentences}
            for number in range(SCENES)
        ]
        return {
            "model": name,
            "family": segmenter.model.config.vlm,
            "version": core_version(),
            "limits": dataclasses.asdict(limits),
            "scenes": scenes,
        }

    @app.get("/api/scenes/{number}.png")
    def scene(number: int) -> Response:
        """The picture of a made-up scene."""
        if not 0 <= number < SCENES:
            raise HTTPException(404, f"there is no scene {number}: there are 0 to {SCENES - 1}")
        return Response(made_up_scene(number).png, media_type="image/png")

    @app.post("/api/segment")
    def segment(image: Annotated[UploadFile, File()], sentences: Annotated[list[str], Form()]) -> dict[str, Any]:
        """A mask for each sentence about a picture."""
        return answers.answer(image.file.read(), sentences)

    @app.exception_handler(LisaError)
    def refused(request: Request, error: LisaError) -> JSONResponse:
        return _error(str(error), 400)

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = [f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors()]
        return _error(f"{'; '.join(faults)}; {_FORM}", 422)

    @app.exception_handler(StarletteHTTPException)
    def other(request: Request, error: StarletteHTTPException) -> JSONResponse:
        return _error(str(error.detail), error.status_code)

    return app


def _error(message: str, code: int) -> JSONResponse:
    return JSONResponse({"error": " ".join(message.split())}, code)
