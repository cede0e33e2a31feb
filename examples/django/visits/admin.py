"""The counted pages in Django's admin."""

from __future__ import annotations

from django.contrib import admin

from visits.models import Page


@admin.register(Page)
class PageAdmin(admin.ModelAdmin):
    list_display = ("path", "visits")
