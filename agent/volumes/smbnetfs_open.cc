// Loaded into smbnetfs (LD_PRELOAD): opens for reading, too, what is to be written. libsmbclient asks a server for a
// handle that can write and nothing else; of such one Samba and Windows tell no size, so every append, and every change
// of a file's length, would fail with EIO (docs/decisions/0059).
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/types.h>

#include <cerrno>

extern "C" int smbc_open(const char* url, int flags, mode_t mode) {
  using Open = int (*)(const char*, int, mode_t);
  static const Open next = reinterpret_cast<Open>(::dlsym(RTLD_NEXT, "smbc_open"));
  if (next == nullptr) {
    errno = ENOSYS;
    return -1;
  }
  if ((flags & O_ACCMODE) == O_WRONLY) {
    const int file = next(url, (flags & ~O_ACCMODE) | O_RDWR, mode);
    if (file >= 0 || errno != EACCES) return file;  // who may write but not read can still do the rest
  }
  return next(url, flags, mode);
}
