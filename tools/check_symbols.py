"""Is the ISA boundary tight? Every kernels object exports its one symbol, and no other object holds AVX code.

A second symbol would be an AVX copy of some shared inline function, which the linker may pick for baseline code: an
illegal instruction on an older CPU (DESIGN, section 6).
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from pathlib import Path

X86_ISAS = {"baseline", "avx2", "avx512", "avx512_vnni", "avx512_vbmi"}
# A 32- or 64-byte register, or a VEX/EVEX instruction (v...) on a 16-byte one.
AVX = re.compile(r"%[yz]mm\d|\tv[a-z0-9]+ .*%xmm\d")


def exported_symbols(object_file: Path) -> list[str]:
    """Names of the global and weak symbols that an object defines, demangled."""
    command = ["nm", "--extern-only", "--defined-only", "--demangle", "--format=posix", str(object_file)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return re.findall(r"^(.+?) [A-Za-z] [0-9a-f]+", output, re.MULTILINE)


def avx_instructions(object_file: Path) -> list[str]:
    """Disassembled lines of an object that only a CPU with AVX can run."""
    command = ["objdump", "--disassemble", "--no-show-raw-insn", str(object_file)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [line.strip() for line in output.splitlines() if AVX.search(line)]


def faults(build_folder: Path) -> list[str]:
    """What is wrong with the objects of one CMake build folder, a line each."""
    found = []
    isas = set()
    for object_file in sorted(build_folder.glob("CMakeFiles/*.dir/**/*.o")):
        name = object_file.relative_to(build_folder / "CMakeFiles")
        target = name.parts[0].removesuffix(".dir")
        isa = target.removeprefix("adanns_kernels_")
        if isa != target:
            isas.add(isa)
            symbols = exported_symbols(object_file)
            if symbols != [f"adanns::{target}"]:
                found.append(f"{name}: exports {', '.join(symbols) or 'nothing'}; expected adanns::{target} alone")
        if isa in (target, "baseline") and (avx := avx_instructions(object_file)):
            found.append(f"{name}: {len(avx)} AVX instructions outside the AVX kernels, the first: {avx[0]}")
    expected = X86_ISAS if platform.machine() in ("x86_64", "AMD64") else {"baseline"}
    if isas != expected:
        found.append(f"{build_folder}: kernels for {sorted(isas)}; expected {sorted(expected)}")
    return found


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: check_symbols.py BUILD_FOLDER...")
    all_faults = [fault for folder in sys.argv[1:] for fault in faults(Path(folder))]
    print("\n".join(all_faults) or "check_symbols: every kernels object exports one symbol; no AVX outside them")
    sys.exit(1 if all_faults else 0)
