"""Published weight files into their places: downloaded, imported, verified."""

import http.client
import shutil
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from models.published import BROWSER_PAGE, PublishedFile, all_files
from utils.errors import InputError
from utils.files import BLOCK, atomic_write, existing_file, failed_download, sha256, writable_folder
from utils.progress import Progress

TIMEOUT = 30  # seconds without an answer


def fetch(published: PublishedFile) -> None:
    """Download to the file's place from the first mirror that has it; nothing unverified gets the final name."""
    if (found := state(published)) == "there":
        print(f"{published.name}: {published.file} exists already")
        return
    if found != "missing":
        raise InputError(f"{published.name}: {published.file} is {found}; delete it, then fetch again")
    if not published.mirrors:
        raise InputError(f"{published.name}: comes with the project; `git checkout {published.file}` brings it back")
    writable_folder(published.path.parent, published.name)
    part = published.path.with_name(published.path.name + ".part")
    reasons = []
    for address in published.mirrors:
        if address.startswith(BROWSER_PAGE):
            reasons.append("must be downloaded with a browser")
            continue
        try:
            _download(address, part, published)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            host = urllib.parse.urlsplit(address).hostname
            reasons.append(f"{host}: {getattr(error, 'reason', None) or error or type(error).__name__}")
            continue
        if part.stat().st_size < published.size:
            reasons.append("the connection broke off, run it again to go on")
            continue
        if sha256(part) == published.sha256:
            part.replace(published.path)
            print(f"{published.name}: {published.file}, verified")
            return
        part.unlink()
        reasons.append("another file is served there")
    raise InputError(
        f"{published.name}: {'; '.join(dict.fromkeys(reasons))}; download {published.mirrors[0]} elsewhere, then run "
        f"`python weights.py import FILE` or put it at {published.file}"
    )


def _download(address: str, part: Path, published: PublishedFile) -> None:
    """Append to `part` what is missing of the file."""
    have = part.stat().st_size if part.exists() else 0
    if have >= published.size:
        return
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        resumed = answer.status == 206  # else the server sends the whole file
        start = have if resumed else 0
        bar = Progress(desc=published.name, unit="B", total=published.size, initial=start)
        with part.open("ab" if resumed else "wb") as file, bar:
            while block := answer.read(BLOCK):
                file.write(block)
                bar.update(len(block))


def import_file(source: Path) -> None:
    """Copy a file that turns out to be a published or bundled one to its place."""
    digest = sha256(existing_file(source))
    published = next((file for file in all_files() if file.sha256 == digest), None)
    if published is None:
        raise InputError(f"{source}: {_why_not_published(source)}")
    writable_folder(published.path.parent, published.name)
    with atomic_write(published.path) as temporary:
        shutil.copyfile(source, temporary)
    print(f"{published.name}: {published.file}, verified")


def _why_not_published(path: Path) -> str:
    """What to do with a file that is none of the published ones."""
    if kind := failed_download(path):
        return f"is {kind}, not the weights; download the file itself"
    size = path.stat().st_size
    file = next((file for file in all_files() if file.path.name.lower() == path.name.lower()), None)
    if file and size < file.size:
        return f"is truncated, or is not {file.name}: {size:,} of {file.size:,} bytes; download it again"
    return "is none of the published files byte for byte; other weights need no import, give their path to the scripts"


def state(file: PublishedFile) -> str:
    """Whether a file is in its place, in words: "there" by its size alone, which takes no time."""
    if not file.path.exists():
        return "missing"
    size = file.path.stat().st_size
    return "there" if size == file.size else f"not it ({_difference(file)}, {size:,} bytes)"


def _difference(file: PublishedFile) -> str:
    return failed_download(file.path) or "another file, or a part of it"


def verify() -> int:
    """Check every published or bundled file that is there; returns how many are. Raises InputError naming those that
    differ."""
    present = [file for file in all_files() if file.path.exists()]
    wrong = [file for file in present if file.path.stat().st_size != file.size or sha256(file.path) != file.sha256]
    if wrong:
        names = ", ".join(f"{file.file} ({_difference(file)})" for file in wrong)
        bundled = "`git checkout`" if not all(file.mirrors for file in wrong) else ""
        fetched = "`python weights.py fetch`" if any(file.mirrors for file in wrong) else ""
        raise InputError(
            f"not as published: {names}; delete them and get them again with "
            f"{' or '.join(filter(None, (fetched, bundled)))}"
        )
    return len(present)
