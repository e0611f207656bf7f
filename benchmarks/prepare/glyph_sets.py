"""Which glyph data sets are there? `glyphs-1k` has ImageNet-1K's shape, `glyphs-4k` goes toward ImageNet-4K's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adanns.datasets.prepared import CACHE_NAMES
from adanns.ladder import default_ladder
from benchmarks.prepare.data_set import STAGE, data_set
from benchmarks.prepare.glyphs import SECONDS, UNPACED, Glyphs, fonts, images
from benchmarks.prepare.overall import Overall
from benchmarks.prepare.recipe import NETWORK, Recipe, Training

ABOUT = {
    "source": "characters drawn at 32 x 32 in the fonts of Debian's packages, embedded by benchmarks/prepare",
    "licence": "fonts of Debian main, each its own licence; embeddings only",
    "split": "queries are of font families that the database has nothing of, by the fonts' name tables",
    "network": NETWORK,
}


@dataclass(frozen=True)
class GlyphSet:
    """Which glyphs, and what is trained on them."""

    glyphs: Glyphs
    recipe: Recipe


GLYPH_SETS = {
    "glyphs-1k": GlyphSet(
        Glyphs(classes=1000, east_asian=340, held_out=104_000),
        Recipe(
            name="glyphs-1k",
            cache_name=CACHE_NAMES["glyphs-1k"],
            ladder=default_ladder(2048),
            # After one epoch the rigid model was ahead by a point at all dims, after two by a third of that.
            training=Training(width=16, epochs=2, batch=512, learning_rate=4e-3),
            rigid_dims=(2048,),
            model_seconds=1300.0,
        ),
    ),
    # Half of the 4 million rows are distorted copies: the fonts have no more. One weight for all heads, since 4,000
    # classes at 9 rungs would cost more than the network; trained on a quarter of the rows, which are in random order.
    # A rigid twin is another 17 GB, so it is made only if asked for.
    "glyphs-4k": GlyphSet(
        Glyphs(classes=4000, east_asian=2000, held_out=300_000, largest_family=6000, copies=1),
        Recipe(
            name="glyphs-4k",
            cache_name=CACHE_NAMES["glyphs-4k"],
            ladder=default_ladder(2048),
            training=Training(width=16, epochs=1, batch=512, learning_rate=4e-3, tied=True, rows=1_100_000),
            rigid_dims=(),
            model_seconds=2400.0,
        ),
    ),
}


def prepare(name: str, *, rigid_dims: Sequence[int] | None = None, workers: int = 2) -> Path:
    """The folder of a glyph data set, made as far as it is not there yet; `rigid_dims` None: those of its recipe."""
    return make(GLYPH_SETS[name], rigid_dims=rigid_dims, workers=workers)


def make(
    glyph_set: GlyphSet,
    *,
    packages: Sequence[str] | None = None,
    rigid_dims: Sequence[int] | None = None,
    workers: int = 2,
    overall: Overall | None = None,
) -> Path:
    """As `prepare`, of any recipe and any font packages."""
    recipe = glyph_set.recipe
    overall = overall or Overall({**SECONDS, STAGE: recipe.model_seconds}, unpaced=UNPACED)
    font_folder = fonts(overall, workers=workers, **({} if packages is None else {"packages": packages}))
    image_folder = images(recipe.name, glyph_set.glyphs, font_folder, overall, workers=workers)
    return data_set(
        recipe,
        image_folder,
        ABOUT,
        overall,
        rigid_dims=recipe.rigid_dims if rigid_dims is None else rigid_dims,
        workers=workers,
    )
