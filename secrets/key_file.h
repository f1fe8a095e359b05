// Key files and keys in memory: what vault and node key have in common. Any thread.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "common/result.h"

namespace trainyard::secrets {

// Bytes outside core dumps and swap, wiped when the last owner goes.
using KeyBytes = std::shared_ptr<unsigned char>;
KeyBytes new_key(std::size_t size);

// libsodium is ready; ends the process where its random numbers cannot be had.
void start_crypto();

std::string to_base64(const unsigned char* bytes, std::size_t size);
inline std::string to_base64(const std::string& bytes) {
  return to_base64(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
}
// False: not base64.
bool from_base64(const std::string& text, std::string& bytes);

// The file's text; without a file, what `make` gives is written first (0400, fsynced, never over an existing file).
// FAILED_PRECONDITION when users other than its owner may read it.
Result<std::string> read_key_file(const std::string& path, const std::function<std::string()>& make);

}  // namespace trainyard::secrets
