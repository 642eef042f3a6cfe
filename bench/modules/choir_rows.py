"""Places a choir on its risers."""

VOICES = ["soprano", "alto", "tenor", "bass"]


def rows_needed(singers, row_size):
    """Rows for all singers; a last row of a single singer is avoided by making room in the others."""
    full, rest = divmod(singers, row_size)
    if rest <= 1 and full > 0:
        return full
    return full + 1


def place(singers, row_size):
    """Rows of names, front row first.

    `singers` are (name, voice, height). Shorter ones stand in front; of the same height, the name
    decides. Within a row the voices go from soprano on the left to bass, and in a voice the tallest
    stands leftmost.
    """
    if not singers:
        return []
    by_height = sorted(singers, key=lambda s: (s[2], s[0]))
    count = rows_needed(len(singers), row_size)
    rows = []
    for i in range(count):
        end = (i + 1) * row_size if i < count - 1 else len(by_height)
        row = by_height[i * row_size : end]
        row.sort(key=lambda s: (VOICES.index(s[1]), -s[2], s[0]))
        rows.append([name for name, _, _ in row])
    return rows


def soloists(singers, piece):
    """One name for each voice that the `piece` lists, the tallest not chosen yet; None where none is left."""
    chosen = []
    for voice in piece:
        able = [s for s in singers if s[1] == voice and s[0] not in chosen]
        best = max(able, key=lambda s: s[2], default=None)
        chosen.append(best[0] if best else None)
    return chosen
