"""Which font packages does Debian have for us, and where do their fonts come to lie?

`apt-get download` fetches without installing and without root; only the font files are unpacked.
"""

from __future__ import annotations

import re
import subprocess
import tarfile
import tempfile
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from adanns.datasets import commands
from adanns.datasets.dataset import DatasetUnavailableError
from adanns.progress import ProgressCallback
from benchmarks.prepare.workers import mapped

# fmt: off
PACKAGES = (
    "fonts-aenigma", "fonts-aoyagi-kouzan-t", "fonts-aoyagi-soseki", "fonts-arphic-bkai00mp",
    "fonts-arphic-bsmi00lp", "fonts-arphic-gbsn00lp", "fonts-arphic-gkai00mp", "fonts-arphic-ukai",
    "fonts-arphic-uming", "fonts-babelstone-han", "fonts-baekmuk", "fonts-cabin", "fonts-cantarell",
    "fonts-cns11643-kai", "fonts-cns11643-sung", "fonts-comfortaa", "fonts-croscore", "fonts-cwtex-fs",
    "fonts-cwtex-kai", "fonts-cwtex-ming", "fonts-dejavu-core", "fonts-dejavu-extra", "fonts-dotgothic16",
    "fonts-ebgaramond", "fonts-firacode", "fonts-freefont-otf", "fonts-hachimarupop", "fonts-hack",
    "fonts-horai-umefont", "fonts-inter", "fonts-ipaexfont", "fonts-ipafont", "fonts-ipamj-mincho",
    "fonts-junicode", "fonts-jura", "fonts-kiloji", "fonts-klee", "fonts-komatuna", "fonts-konatu",
    "fonts-kouzan-mouhitsu", "fonts-lato", "fonts-league-spartan", "fonts-liberation2", "fonts-linuxlibertine",
    "fonts-lobster", "fonts-lxgw-wenkai", "fonts-migmix", "fonts-mona", "fonts-monapo", "fonts-montserrat",
    "fonts-morisawa-bizud-gothic", "fonts-morisawa-bizud-mincho", "fonts-motoya-l-cedar",
    "fonts-motoya-l-maruberi", "fonts-mplus", "fonts-nanum", "fonts-noto-cjk", "fonts-noto-cjk-extra",
    "fonts-noto-core", "fonts-noto-extra", "fonts-noto-mono", "fonts-open-sans", "fonts-oradano-mincho-gsrr",
    "fonts-oxygen", "fonts-play", "fonts-quicksand", "fonts-rampart", "fonts-reggae", "fonts-roboto-unhinted",
    "fonts-rocknroll", "fonts-sawarabi-gothic", "fonts-sawarabi-mincho", "fonts-seto", "fonts-sil-andika",
    "fonts-sil-charis", "fonts-sil-gentiumplus", "fonts-stick", "fonts-symbola", "fonts-takao", "fonts-texgyre",
    "fonts-ubuntu", "fonts-unfonts-core", "fonts-unifont", "fonts-urw-base35", "fonts-vlgothic",
    "fonts-vollkorn", "fonts-wqy-microhei", "fonts-wqy-zenhei", "fonts-yozvox-yozfont-edu", "fonts-yusei-magic",
    "texlive-fonts-extra", "texlive-fonts-recommended",
)
# fmt: on
FONT_SUFFIXES = (".ttf", ".otf", ".ttc")


@dataclass(frozen=True)
class Packages:
    """The packages found, as files, and the names of those that there are none of."""

    files: list[Path]
    missing: list[str]

    def versions(self) -> dict[str, str]:
        """Package name to version, as the file names say."""
        fields = (urllib.parse.unquote(file.stem).split("_") for file in self.files)
        return {name: version for name, version, *_ in fields}


def fetch(names: Sequence[str], folder: Path, progress: ProgressCallback) -> Packages:
    """Download packages into `folder`, except those whose files lie there already.

    A package that apt does not know is missing, which is no error: releases of Debian differ. Where none can be had,
    or a download breaks off, DatasetUnavailableError says what to do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sizes = _sizes(names)
    files: list[Path] = []
    missing: list[str] = []
    known_bytes = sum(sizes.values())
    fetched_bytes = 0
    for name in names:
        file = _lying(name, folder, sizes.get(name))
        if file is None and name in sizes:
            file = _download(name, folder)
        files.append(file) if file is not None else missing.append(name)
        fetched_bytes += sizes.get(name, 0)
        progress("fetch font packages", fetched_bytes, known_bytes)
    if not files:
        raise DatasetUnavailableError(_advice("apt knows none of them", folder))
    return Packages(files, missing)


def unpack(packages: Packages, folder: Path, progress: ProgressCallback, *, workers: int = 2) -> None:
    """The font files of each package into `folder`/PACKAGE, whole packages at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {file: file.stat().st_size for file in packages.files}
    largest_first = sorted(packages.files, key=lambda file: -sizes[file])
    done = 0
    tasks = [(file, folder / file.name.split("_")[0]) for file in largest_first]
    for file, _ in zip(largest_first, mapped(_unpack_fonts, tasks, workers, chunk=1), strict=True):
        done += sizes[file]
        progress("unpack fonts", done, sum(sizes.values()))


def _sizes(names: Sequence[str]) -> dict[str, int]:
    """Bytes of the packages that apt knows; empty where there is no apt."""
    try:
        shown = subprocess.run(
            ["apt-cache", "show", "--no-all-versions", *names], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return {}
    stanzas = (dict(re.findall(r"^(Package|Size): (.+)$", text, re.MULTILINE)) for text in shown.stdout.split("\n\n"))
    return {fields["Package"]: int(fields["Size"]) for fields in stanzas if fields.keys() >= {"Package", "Size"}}


def _lying(name: str, folder: Path, size: int | None) -> Path | None:
    """The package's file in `folder`, if it is complete as far as one can know."""
    files = [file for file in sorted(folder.glob(f"{name}_*.deb")) if size is None or file.stat().st_size == size]
    return files[-1] if files else None


def _download(name: str, folder: Path) -> Path:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as unfinished:
        try:
            commands.run("apt-get", "download", name, folder=Path(unfinished))
            (file,) = Path(unfinished).glob("*.deb")
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            raise DatasetUnavailableError(_advice(f"{name}: {commands.last_words(error)}", folder)) from error
        return file.rename(folder / file.name)


def _advice(reason: str, folder: Path) -> str:
    return (
        f"the glyphs are drawn from Debian's font packages, which could not be downloaded ({reason}): run `apt-get "
        f"update` as root and see that the network can be reached, or put the .deb files into {folder}; then run the "
        "same command again"
    )


def _unpack_fonts(task: tuple[Path, Path]) -> None:
    file, home = task
    if home.is_dir():
        return
    unfinished = home.with_suffix(".partial")
    unfinished.mkdir(exist_ok=True)
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(file)], stdout=subprocess.PIPE) as contents:
        try:
            _extract_fonts(contents.stdout, unfinished)
        except tarfile.TarError:
            contents.kill()
    if contents.returncode != 0:
        raise ValueError(f"{file}: dpkg-deb cannot read it; remove the file and run the same command again")
    unfinished.rename(home)


def _extract_fonts(contents: IO[bytes] | None, folder: Path) -> None:
    with tarfile.open(fileobj=contents, mode="r|") as archive:
        for member in archive:
            if member.isreg() and member.name.lower().endswith(FONT_SUFFIXES):
                archive.extract(member, folder, filter="data")
