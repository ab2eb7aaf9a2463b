"""Any letter in LaTeX, under pdfTeX, XeTeX and LuaTeX alike."""

from __future__ import annotations

import re
import unicodedata

_SIGNS = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_", '"': "''",
    "<": r"$<$", ">": r"$>$", "|": r"$|$", "†": r"$^{\dagger}$", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    "±": r"$\pm$", "×": r"$\times$", "≥": r"$\geq$", "≤": r"$\leq$", "→": r"$\rightarrow$", "·": r"$\cdot$",
    "−": "$-$", "–": "--", "—": "---", "…": r"\ldots{}", "‘": "`", "’": "'", "“": "``", "”": "''", "°": r"$^{\circ}$",
    "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "ø": r"\o{}", "Ø": r"\O{}", "œ": r"\oe{}", "Œ": r"\OE{}",
    "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}",
}  # fmt: skip
_ACCENTS = {  # those of every font encoding, by the combining mark
    "\u0300": r"\`", "\u0301": r"\'", "\u0302": r"\^", "\u0303": r"\~", "\u0308": r"\"", "\u030a": r"\r",
    "\u0327": r"\c", "\u030c": r"\v", "\u0304": r"\=", "\u0307": r"\.", "\u0306": r"\u", "\u030b": r"\H",
    "\u0323": r"\d",
}  # fmt: skip
_CAPITALS = re.findall(r"\w+", "GAMMA DELTA THETA LAMDA XI PI SIGMA UPSILON PHI PSI OMEGA")  # like no Latin letter
_SMALL = _CAPITALS + re.findall(r"\w+", "ALPHA BETA EPSILON ZETA ETA IOTA KAPPA MU NU RHO TAU CHI")
_SPELT = dict(zip(
    "абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґ",
    re.findall(r"\S+", "a b v g d e zh z i y k l m n o p r s t u f kh ts ch sh shch ' y ' e yu ya yo i yi ye g"),
    strict=True,
)) | dict(zip(
    "ابتثجحخدذرزسشصضطظعغفقكلمنهويةىأإآء",
    re.findall(r"\S+", "a b t th j h kh d dh r z s sh s d t z ' gh f q k l m n h w y a a a i a '"), strict=True,
))  # fmt: skip
_BREAKS = re.compile(r"(?:[^\s\-_./@=,+:;…]|(?<=\d)\.(?=\d))+[\-_./@=,+:;…]*|[\-_./@=,+:;…]+")
ENGINE = r"\oodletter"  # the command of letters that only some engines and fonts have
DEFINED = (
    r"\providecommand{\oodletter}[2]{\ifdefined\Umathcode\iffontchar\font" + '"#1'
    r"\relax\char" + '"#1'
    r"\relax\else#2\fi\else#2\fi}"
)


def escape_latex(text: str, longest: int = 20) -> str:
    r"""Return text that LaTeX prints as it stands, whatever its letters.

    Letters that pdfTeX lacks become `\oodletter{CODE}{substitute}`: the letter itself where engine and font have it.

    Args:
        text: Words; runs of space become one space.
        longest: Words of more letters may be broken after signs and after so many letters.
    """
    return " ".join(_word(word, longest) for word in text.split())


def needs_unicode(text: str) -> bool:
    """Return whether LaTeX text holds letters that pdfTeX prints as substitutes."""
    return ENGINE in text


def _word(word: str, longest: int) -> str:
    if sum(len(substitute(sign)) if _is_foreign(sign) else 1 for sign in word) <= longest:
        return "".join(map(_sign, word))
    pieces = [run[i : i + longest] for run in _BREAKS.findall(word) for i in range(0, len(run), longest)]
    return r"\allowbreak{}".join("".join(map(_sign, piece)) for piece in pieces)


def _sign(sign: str) -> str:
    """Return the LaTeX of one letter."""
    if sign in _SIGNS:
        return _SIGNS[sign]
    if " " <= sign <= "~":
        return sign
    base, *marks = list(unicodedata.normalize("NFD", sign))
    if _is_accented(sign):
        dotless = {"i": r"\i", "j": r"\j"} if marks[0] not in "\u0327\u0323" else {}
        return f"{_ACCENTS[marks[0]]}{{{dotless.get(base, base)}}}"
    if unicodedata.category(sign) in ("Cc", "Cf", "Mn"):
        return ""
    return f"{ENGINE}{{{ord(sign):04X}}}{{{substitute(sign)}}}\\allowbreak{{}}"


def _is_accented(sign: str) -> bool:
    """Return whether a letter is one of ASCII under one of `_ACCENTS`."""
    base, *marks = list(unicodedata.normalize("NFD", sign))
    return base.isascii() and base.isalpha() and len(marks) == 1 and marks[0] in _ACCENTS


def _is_foreign(sign: str) -> bool:
    """Return whether a sign is printed as a substitute where there is no font for it."""
    return not sign.isascii() and sign not in _SIGNS and not _is_accented(sign)


def substitute(sign: str) -> str:
    """Return the LaTeX of what stands for a letter that cannot be printed: as in mathematics, or as `spelt`."""
    name = unicodedata.name(unicodedata.normalize("NFKD", sign)[0], "")
    greek = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER ([A-Z]+)", name)
    if greek and greek[2] in (_SMALL if greek[1] == "SMALL" else _CAPITALS):
        letter = greek[2].replace("LAMDA", "LAMBDA")
        return f"\\ensuremath{{\\{letter.lower() if greek[1] == 'SMALL' else letter.title()}}}"
    return "".join(_SIGNS.get(letter, letter) for letter in spelt(sign))


def spelt(sign: str) -> str:
    """Return what stands for a letter that cannot be printed: one of ASCII, its sound, its name or its number."""
    if sign.lower() in _SPELT:
        return _SPELT[sign] if sign in _SPELT else _SPELT[sign.lower()].capitalize()
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", sign) if letter.isascii())
    if plain.strip():
        return plain
    name = unicodedata.name(sign, "")
    letter = re.search(r"(?:LETTER|SYLLABLE) (?:SMALL )?([A-Z]+)$", name)
    if letter:
        return letter[1].title() if "CAPITAL" in name else letter[1].lower()
    return f"U+{ord(sign):04X}"
