"""Models in a format of a program's own: published as they are, with the program's metrics; nothing loads them here."""

from tidemill_runtime.frameworks.base import Framework

FRAMEWORK = Framework()
