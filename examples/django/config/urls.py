"""Which address leads to which view."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path
from visits.views import health, index

urlpatterns = [
    path("", index),
    path("healthz", health),
    path("admin/", admin.site.urls),
]
