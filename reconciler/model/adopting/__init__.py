"""From hand-made settings of nginx and uWSGI to a manifest. Only `reconciler adopt` imports it."""
