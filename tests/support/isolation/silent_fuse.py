"""A FUSE file system in one file, straight on /dev/fuse: an empty directory that answers, until somebody looks for the name
`hang`: that is never answered, and who asks waits in the kernel where no signal reaches (state D) until the connection is aborted.
It is: when this process ends, and by `seconds` at the latest.

    silent_fuse.py MOUNTPOINT SECONDS      prints "mounted", serves, and prints "asked" when somebody hangs
"""
import ctypes
import errno
import os
import signal
import struct
import sys

LOOKUP, FORGET, GETATTR, OPEN, STATFS, INIT, OPENDIR, READDIR, RELEASEDIR, ACCESS = 1, 2, 3, 14, 17, 26, 27, 28, 29, 34
READDIRPLUS, DESTROY, BATCH_FORGET, INTERRUPT = 44, 38, 42, 36


def attributes():
    return struct.pack("<QQQQQQIIIIIIIIII", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40777, 2, 0, 0, 0, 4096, 0)


def answer(fd, unique, body=b"", error=0):
    os.write(fd, struct.pack("<IiQ", 16 + len(body), -error, unique) + body)


def serve(fd):
    while True:
        try:
            request = os.read(fd, 1 << 20)
        except OSError:
            return  # unmounted or aborted
        _, code, unique = struct.unpack_from("<IIQ", request)
        if code == INIT:
            answer(fd, unique, struct.pack("<IIIIHHIIHHI", 7, 31, 0, 0, 12, 9, 4096, 1, 1, 0, 0) + b"\0" * 28)
        elif code in (FORGET, BATCH_FORGET, INTERRUPT):
            continue
        elif code == GETATTR:
            answer(fd, unique, struct.pack("<QII", 0, 0, 0) + attributes())
        elif code == OPENDIR:
            answer(fd, unique, struct.pack("<QII", 1, 0, 0))
        elif code in (READDIR, READDIRPLUS, RELEASEDIR, ACCESS, DESTROY):
            answer(fd, unique)
        elif code == STATFS:
            answer(fd, unique, b"\0" * 80)
        elif code == LOOKUP and request[40:].rstrip(b"\0") == b"hang":
            print("asked", flush=True)
        else:
            answer(fd, unique, error=errno.ENOENT if code == LOOKUP else errno.ENOSYS)


def main():
    mount_point, seconds = sys.argv[1], int(sys.argv[2])
    signal.alarm(seconds)  # armed before anything can hang: with this process the connection ends
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"silent", mount_point.encode(), b"fuse.silent", 6, options) != 0:
        sys.exit(f"cannot mount: {os.strerror(ctypes.get_errno())}")
    print("mounted", flush=True)
    serve(fd)


if __name__ == "__main__":
    main()
