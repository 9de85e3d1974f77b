"""Routes of webhooks and of one's own subscription."""

from __future__ import annotations

from django.urls import path

from governance.api import views_webhooks

_ONE = "webhooks/<str:webhook_id>"

urlpatterns = [
    path("webhooks", views_webhooks.Webhooks.as_view()),
    path(_ONE, views_webhooks.WebhookDetail.as_view()),
    path(f"{_ONE}/rotate", views_webhooks.WebhookRotate.as_view()),
    path(f"{_ONE}/test", views_webhooks.WebhookTest.as_view()),
    path(f"{_ONE}/deliveries", views_webhooks.WebhookDeliveries.as_view()),
    path("webhooks/deliveries/<str:delivery_id>/replay", views_webhooks.WebhookReplay.as_view()),
    path("notifications/subscription", views_webhooks.Subscription.as_view()),
]
