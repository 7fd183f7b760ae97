"""python -m search.predict DIR PHOTO…: asks a model that search.export has written, or evaluates it on other photos."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from search.model.predictor import DESCRIPTION, EXIT_CODES, Predictor, add_photos, guarded, photos_in, tell


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m search.predict", description=DESCRIPTION, epilog=EXIT_CODES)
    parser.add_argument("model", type=Path, metavar="DIR", help="what search.export --out wrote")
    add_photos(parser)
    parser.add_argument(
        "--evaluate",
        type=Path,
        metavar="FOLDER",
        help="a data set with a folder of photos for each class, as a second hospital may have it: how well the model "
        "screens them at its fixed threshold, with intervals, as JSON, a page and a picture",
    )
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="of --evaluate: where these go (default: here)"
    )
    options = parser.parse_intermixed_args(arguments)
    if bool(options.photos) == (options.evaluate is not None):
        parser.error("name photos or folders of photos, or --evaluate FOLDER")

    def work() -> int:
        if options.evaluate is not None:
            from search.model.external import evaluate

            print(evaluate(options.model, options.evaluate, options.out, options.json))
            return 0
        predictor = Predictor(options.model)
        return tell(predictor.answers(photos_in(options.photos)), predictor.classes, options.json)

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())
