def edit_distance(source, target):
    """Least number of insertions, deletions and substitutions that turn `source` into `target`."""
    previous = list(range(len(target) + 1))
    for i, left in enumerate(source, start=1):
        current = [i]
        for j, right in enumerate(target, start=1):
            if left == right:
                current.append(previous[j - 1])
            else:
                substitute = previous[j - 1] + 1
                delete = previous[j] + 1
                insert = current[j - 1] + 1
                current.append(min(substitute, delete, insert))
        previous = current
    return previous[-1]
