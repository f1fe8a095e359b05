// Reads Batch AI's file server description (the JSON file of --config-file) and its flags into the API's spec. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/result.h"
#include "trainyard/v1/file_servers.pb.h"

namespace trainyard::cli {

// What the command line says; what it does not say is of the file, and then the default.
struct FileServerFlags {
  std::string vm_size, caching_type, storage_sku, user_name, ssh_public_key;
  std::optional<std::int32_t> disk_count, disk_size;
};

// `text` is the file `file_name`; empty: there is none. What is ignored in it is said in `warnings`.
Result<v1::FileServerSpec> make_file_server_spec(const std::string& text, const std::string& file_name,
                                                 const FileServerFlags& flags, std::vector<std::string>& warnings);

}  // namespace trainyard::cli
