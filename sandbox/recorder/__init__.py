"""Records and restores a tree of files, inside the sandbox. Standard library only.

One run of it is one request (`program.py`): it walks the tree (`walk.py`), asks git what is ignored
(`rules.py`), notes what is lost of that (`losses.py`), and keeps contents and folders in a store
(`store.py`, cut by `chunks.py`) in git's own form of objects (`trees.py`). `restore.py` goes the way back,
`patch.py` lets git write a patch.
"""
