"""Published weight files into their places: downloaded, imported, verified."""

import http.client
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from models.published import BUNDLED, PUBLISHED, WEB_PAGE, PublishedFile
from utils.errors import InputError
from utils.files import BLOCK, atomic_write, sha256, writable_folder

TIMEOUT = 30  # seconds without an answer


def fetch(published: PublishedFile) -> None:
    """Download to the file's place from the first mirror that has it; nothing unverified gets the final name."""
    if published.path.exists():
        print(f"{published.name}: {published.file} is there already")
        return
    writable_folder(published.path.parent, published.name)
    part = published.path.with_name(published.path.name + ".part")
    reasons = []
    for address in published.mirrors:
        if address.startswith(WEB_PAGE):
            reasons.append("must be downloaded with a browser")
            continue
        try:
            _download(address, part, published)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reasons.append(str(getattr(error, "reason", error)))
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
    from tqdm import tqdm

    have = part.stat().st_size if part.exists() else 0
    if have >= published.size:
        return
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        resumed = answer.status == 206  # else the server sends the whole file
        start = have if resumed else 0
        bar = tqdm(total=published.size, initial=start, unit="B", unit_scale=True, desc=published.name)
        with part.open("ab" if resumed else "wb") as file, bar:
            while block := answer.read(BLOCK):
                file.write(block)
                bar.update(len(block))


def import_file(source: Path) -> None:
    """Copy a file that turns out to be a published or bundled one to its place."""
    if not source.is_file():
        raise InputError(f"{source}: no such file")
    digest = sha256(source)
    known = {file.sha256: file for file in (*PUBLISHED, *BUNDLED)}
    if digest not in known:
        raise InputError(
            f"{source}: is none of the published files (SHA-256 {digest}); "
            "weights of another origin need no import, give their path to the scripts"
        )
    published = known[digest]
    writable_folder(published.path.parent, published.name)
    with atomic_write(published.path) as temporary:
        shutil.copyfile(source, temporary)
    print(f"{published.name}: {published.file}, verified")


def verify() -> int:
    """Check every published or bundled file that is there; returns how many are. Raises InputError naming those that
    differ."""
    present = [file for file in (*PUBLISHED, *BUNDLED) if file.path.exists()]
    wrong = [file for file in present if sha256(file.path) != file.sha256]
    if wrong:
        bundled = "`git checkout`" if any(file in BUNDLED for file in wrong) else ""
        fetched = "`python weights.py fetch`" if any(file in PUBLISHED for file in wrong) else ""
        raise InputError(
            f"not the published files, or damaged: {', '.join(file.file for file in wrong)}; delete them and get them "
            f"again with {' or '.join(filter(None, (fetched, bundled)))}"
        )
    return len(present)
