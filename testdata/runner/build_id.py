#!/usr/bin/env python3
"""Recomputes the build id of an image from its bytes (docs/design.md, "The build id"): exits with 1 when it is another.

  build_id.py IMAGE [ID]   ID: what somebody says that it is
"""
import struct
import sys

import xxhash

LEAF, CHILDREN, MASK = 4096, 64, (1 << 64) - 1


def fnv(data, state=0xcbf29ce484222325):
    whole = len(data) // 8 * 8
    words = list(struct.unpack("<%dQ" % (whole // 8), data[:whole]))
    if whole != len(data):
        words.append(int.from_bytes(data[whole:], "little"))
    for word in words + [len(data)]:
        state = (state ^ word) * 0x100000001b3 & MASK
        state ^= state >> 32
    return state


def root(data):
    level = [xxhash.xxh3_64_intdigest(data[at:at + LEAF]) for at in range(0, len(data), LEAF)]
    while len(level) > 1:
        level = [xxhash.xxh3_64_intdigest(struct.pack("<%dQ" % len(part), *part)) for part in (level[i:i + CHILDREN] for i in range(0, len(level), CHILDREN))]
    return level[0]


def main():
    with open(sys.argv[1], "rb") as file:
        image = bytearray(file.read())
    first, sections = struct.unpack_from("<QQ", image, 0x20)
    segments, = struct.unpack_from("<H", image, 0x38)
    count, = struct.unpack_from("<H", image, 0x3c)
    cuts = {0, len(image)}
    for at in range(first, first + 56 * segments, 56):
        kind, _, offset, _, _, size = struct.unpack_from("<IIQQQQ", image, at)
        if kind == 1 and size != 0:
            cuts |= {offset, offset + size}
    note = None
    for at in range(sections, sections + 64 * count, 64):
        _, kind, _, _, offset, size = struct.unpack_from("<IIQQQQ", image, at)
        if kind == 7 and struct.unpack_from("<II", image, offset + 4) == (size - 16, 3):
            note = slice(offset + 16, offset + size)
    if note is None:
        sys.exit("there is no build id")
    found = bytes(image[note])
    image[note] = bytes(len(found))
    cuts = sorted(cuts)
    pieces = [word for begin, end in zip(cuts, cuts[1:]) for word in (begin, end - begin, root(image[begin:end]))]
    state = xxhash.xxh3_64_intdigest(struct.pack("<%dQ" % len(pieces), *pieces))
    wanted = b"".join(struct.pack("<Q", fnv(struct.pack("<QQ", state, at))) for at in range(0, len(found), 8))[:len(found)]
    if found != wanted:
        sys.exit("the build id is %s; the content says %s" % (found.hex(), wanted.hex()))
    if len(sys.argv) > 2 and found.hex() != sys.argv[2]:
        sys.exit("the build id is %s, not %s" % (found.hex(), sys.argv[2]))


if __name__ == "__main__":
    main()
