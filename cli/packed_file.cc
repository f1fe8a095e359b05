#include "cli/packed_file.h"

#include <fmt/format.h>
#include <zlib.h>

#include <memory>

namespace trainyard::cli {

Result<std::string> read_packed_file(const std::string& path, std::size_t most_bytes) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (!file) return Error{Code::invalid_argument, path + ": cannot be read; check the path"};
  std::string text;
  char buffer[65536];
  for (;;) {
    const int got = gzread(file.get(), buffer, sizeof buffer);
    if (got < 0) return Error{Code::invalid_argument, path + ": cannot be unpacked: it is damaged, or no file"};
    if (got == 0) break;
    text.append(buffer, static_cast<std::size_t>(got));
    if (text.size() > most_bytes) {
      return Error{Code::invalid_argument, fmt::format("{}: more than {} MB", path, most_bytes / (1024 * 1024))};
    }
  }
  // A cut-off file is only known at its end.
  int error = Z_OK;
  gzerror(file.get(), &error);
  if (error == Z_BUF_ERROR) return Error{Code::invalid_argument, path + ": is cut off"};
  return text;
}

}  // namespace trainyard::cli
