"""The page that counts, and a health check that does not."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from visits.models import Page


def index(request: HttpRequest) -> HttpResponse:
    return render(request, "visits/index.html", {"visits": Page.visit(request.path)})


def health(_request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok", "pages": Page.objects.count()})
