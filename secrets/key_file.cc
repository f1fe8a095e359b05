#include "secrets/key_file.h"

#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>

#include "common/check.h"

namespace trainyard::secrets {
namespace {

constexpr std::size_t kMostBytes = 64 * 1024;

Error file_error(const std::string& what, const std::string& path) {
  return {Code::failed_precondition, what + " " + path + ": " + std::strerror(errno)};
}

bool write_all(int fd, const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t wrote = ::write(fd, text.data() + done, text.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return false;
    done += static_cast<std::size_t>(wrote);
  }
  return true;
}

Status sync_directory_of(const std::string& path) {
  const auto slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return file_error("cannot open", directory);
  const bool synced = ::fsync(fd) == 0;
  const Error error = file_error("cannot sync", directory);
  ::close(fd);
  if (!synced) return error;
  return {};
}

// Whole or not at all: a crash in between leaves only the file beside it, which the next try replaces.
Status write_new(const std::string& path, const std::string& text) {
  const std::string beside = path + ".new";
  ::unlink(beside.c_str());
  const int fd = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
  if (fd < 0) return file_error("cannot create", beside);
  const bool written = write_all(fd, text) && ::fsync(fd) == 0;
  const Error error = file_error("cannot write", beside);
  ::close(fd);
  if (!written) return error;
  if (::link(beside.c_str(), path.c_str()) != 0 && errno != EEXIST) return file_error("cannot create", path);
  ::unlink(beside.c_str());
  return sync_directory_of(path);
}

Result<std::string> read_private(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return file_error("cannot read", path);
  struct stat status {};
  std::string text;
  Status problem;
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    problem = Error{Code::failed_precondition, path + " is not a file"};
  } else if ((status.st_mode & 077) != 0) {
    problem = Error{Code::failed_precondition,
                    path +
                        " may be read by other users: whoever could read it can read the secrets; chmod 0400 it, and "
                        "think about new secrets"};
  } else {
    char buffer[4096];
    ssize_t got = 0;
    while (text.size() <= kMostBytes &&
           ((got = ::read(fd, buffer, sizeof buffer)) > 0 || (got < 0 && errno == EINTR))) {
      if (got > 0) text.append(buffer, static_cast<std::size_t>(got));
    }
    if (got < 0) problem = file_error("cannot read", path);
    sodium_memzero(buffer, sizeof buffer);
  }
  ::close(fd);
  if (!problem) return problem.error();
  return text;
}

}  // namespace

void start_crypto() {
  TY_CHECK(sodium_init() >= 0);
}

KeyBytes new_key(std::size_t size) {
  start_crypto();
  auto* bytes = static_cast<unsigned char*>(sodium_malloc(size));
  if (bytes == nullptr) throw std::bad_alloc();
  return {bytes, sodium_free};
}

std::string to_base64(const unsigned char* bytes, std::size_t size) {
  std::string text(sodium_base64_encoded_len(size, sodium_base64_VARIANT_ORIGINAL), '\0');
  sodium_bin2base64(text.data(), text.size(), bytes, size, sodium_base64_VARIANT_ORIGINAL);
  text.resize(text.size() - 1);  // its NUL
  return text;
}

bool from_base64(const std::string& text, std::string& bytes) {
  bytes.assign(text.size() + 1, '\0');
  std::size_t size = 0;
  if (sodium_base642bin(reinterpret_cast<unsigned char*>(bytes.data()), bytes.size(), text.data(), text.size(), nullptr,
                        &size, nullptr, sodium_base64_VARIANT_ORIGINAL) != 0) {
    return false;
  }
  bytes.resize(size);
  return true;
}

Result<std::string> read_key_file(const std::string& path, const std::function<std::string()>& make) {
  start_crypto();
  if (::access(path.c_str(), F_OK) != 0) {
    if (errno != ENOENT) return file_error("cannot look at", path);
    if (const Status written = write_new(path, make()); !written) return written.error();
  }
  return read_private(path);
}

}  // namespace trainyard::secrets
