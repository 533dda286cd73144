"""Reading a text as English words, and telling when it is not surely English."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass


def word_set(text: str) -> frozenset[str]:
    """The words of a text, parted by blanks and line ends."""
    return frozenset(text.split())


_TOKEN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+[^\W_]*|[^\w\s]|_", re.UNICODE)
_LOANWORDS = word_set("café cafés entrée fiancé fiancée décor purée sauté crème brûlée jalapeño piñata façade")

# Words for the sides, and the small words that sentences of these languages hardly do without. Some are English words
# too (`links`, `del`): a text that has one is taken for foreign, and is merely augmented less.
_FOREIGN = word_set(
    """
    links rechts linke linken linker linkes linkem rechte rechten rechter rechtes rechtem ganz oben unten vorne hinten
    der das dem und ist sind mit auf neben dessen deren eine einen einem einer eines nicht wo welche welcher welches
    gauche droite droit le les une des du avec sur sous dans au aux est sont cote qui ou
    izquierda izquierdo derecha derecho el los las una uno del al con sobre junto esta lado
    sinistra sinistro destra destro il lo gli della dello degli delle nella nel sulla sul di che
    esquerda esquerdo direita direito os um uma ao na no da do dos com em
    linkerkant rechterkant het een op naast voor achter
    vanster hoger till vid med och den det venstre hoyre hojre og ved pa
    lewo lewy lewa lewej prawo prawy prawa prawej jest obok
    vlevo vpravo levy pravy leva prava levo pravo vlijevo nalevo napravo
    vasen vasemmalla vasemmanpuoleinen oikea oikealla oikeanpuoleinen
    sol solda soldaki sag sagda sagdaki bal balra jobb jobbra
    stanga dreapta kiri kanan trai phai hidari migi
    rot rote roter rotes roten blau blaue blauer gelb gelbe schwarz schwarze weiss weisse braun grau rosa lila
    rouge rouges bleu bleue bleus vert verte verts jaune jaunes noir noire noirs blanc blanche blancs gris marron
    rojo roja azul verde amarillo amarilla negro negra blanco blanca rosso rossa giallo gialla nero nera bianco bianca
    vermelho vermelha amarelo preto branco rood blauw groen geel zwart czerwony czarny bialy
    """
) - word_set("no do da pa em al au")  # English, or parts of English words, too often


@dataclass(frozen=True)
class Token:
    """A word, a number or a mark of a text."""

    word: str
    """In lower case, apostrophes straight."""
    start: int
    """Where it begins in the text."""
    end: int
    """Where it ends."""


def tokens(text: str) -> list[Token]:
    """The words, numbers and marks of a text in order; hyphens are marks."""
    return [Token(m.group().lower().replace("’", "'"), m.start(), m.end()) for m in _TOKEN.finditer(text)]


def words(text: str) -> list[str]:
    """The words and numbers of a text in lower case; the `'s` of a genitive is left out."""
    found = (token.word.removesuffix("'s").removesuffix("'") for token in tokens(text))
    return [word for word in found if word[:1].isalnum()]


def is_foreign(text: str) -> bool:
    """Whether a text is not surely English: it has letters beyond a to z, or words of another language."""
    found = words(unicodedata.normalize("NFC", text))
    return any(not word.isascii() and word not in _LOANWORDS for word in found) or not _FOREIGN.isdisjoint(found)
