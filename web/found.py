"""Weights on disk that a visitor may choose, by the label that says what they are; looked for whenever they are shown,
since trainings and downloads add to them."""

from models.face_refiner import PERSON
from models.published import BUNDLED, PUBLISHED, ROOT
from web.site import Site

CHECKPOINTS = ROOT / "checkpoints"
BEST = "the best available"
GENERATOR = "best.pth"


def generators(site: Site) -> dict[str, str]:
    """Label -> path; an empty path for the choice that a dub makes by itself."""
    known = [file for file in (*PUBLISHED, *BUNDLED) if file.note.startswith("generator") and file.path.exists()]
    found = {f"{file.path.name} ({file.licence})": str(file.path) for file in known}
    return {BEST: ""} | found | _of_scripts(GENERATOR) | _of_page(site, f"generator*/{GENERATOR}")


def refiners(site: Site) -> dict[str, str]:
    """Label -> what --refine takes."""
    return {"auto": "auto", "off": "off"} | _of_scripts(PERSON) | _of_page(site, f"refiner*/{PERSON}")


def _of_scripts(name: str) -> dict[str, str]:
    """Files of this name in the folders of trainings."""
    paths = sorted(CHECKPOINTS.glob(f"**/{name}"))
    return {path.relative_to(CHECKPOINTS).as_posix(): str(path) for path in paths}


def _of_page(site: Site, pattern: str) -> dict[str, str]:
    """What the trainings of the page have made, by the folder of videos."""
    runs = {name: site.files.run_folder(videos) for name, videos in site.video_folders().items()}
    return {
        f"{name}: {path.parent.name}": str(path) for name, run in runs.items() for path in sorted(run.glob(pattern))
    }
