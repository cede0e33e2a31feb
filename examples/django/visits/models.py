"""What the database keeps."""

from __future__ import annotations

from django.db import models, transaction
from django.db.models import F


class Page(models.Model):
    """A page, and how often it was looked at."""

    path = models.CharField(max_length=200, unique=True)
    visits = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.path}: {self.visits}"

    @classmethod
    @transaction.atomic
    def visit(cls, path: str) -> int:
        """Count one more visit and return how many there were."""
        page, _ = cls.objects.get_or_create(path=path)
        # the database adds, so two visits at once count twice
        cls.objects.filter(pk=page.pk).update(visits=F("visits") + 1)
        page.refresh_from_db()
        return page.visits
