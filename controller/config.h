// The controller's configuration: one JSON file, overridden by flags. Read once at start; every mistake in it is said
// with the key it stands under. Plain values after that; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/model.h"
#include "common/result.h"
#include "controller/core/core.h"
#include "controller/plan/backfill.h"

namespace trainyard::controller {

// PEM files. With them the controller speaks TLS only and asks every client for a certificate of `client_ca`.
struct TlsFiles {
  std::string certificate, key, client_ca;
};

// An account is a user's name for a place: `account` is a name, or "*" for every other name (then the account is a
// directory of that name below the place). The account's shares and containers are directories below its place; where
// that is a server of objects without a bucket, each is a bucket of its own.
struct StorageEntry {
  std::string account;
  Volume place;  // local, nfs, smb, s3 or azureBlob; without a relative mount path
};

// A file server is a user's name for an NFS export: `name` is a name, or "*" for every other name (then the export is
// the directory `path`/<name>).
struct ExportEntry {
  std::string name, address, path;
};

// Jobs of this image (exact match, as the job names it) run on the host, with these replacements, or in a container of
// `pull` (empty: of the image itself).
struct ImageEntry {
  std::string image, pull;
  bool on_host = true;
  ImageMapping mapping;
};

// Whom the jobs of a workspace run as on the nodes. `workspace`: "group/workspace", "group/*" or "*"; the most exact
// entry holds. Workspaces without one have a user id of their own (core: user_of).
struct UserEntry {
  std::string workspace;
  RunAs run_as;
};

// Images whose full name begins with `prefix` are pulled from `replace` + the rest.
struct ImageMirror {
  std::string prefix, replace;
};

struct PoolEntry {
  std::vector<std::string> fence_command;  // run with the node's name appended; exit 0 = the machine is off
};

struct Config {
  std::string state_dir = "/var/lib/trainyard";
  std::string secrets_key_file;  // with it secrets are sealed in the database; default: secrets.key in state_dir
  std::string listen = "127.0.0.1:7470";
  bool insecure_lab = false;
  std::optional<TlsFiles> tls;
  std::vector<StorageEntry> storage;
  std::vector<ExportEntry> exports;
  std::vector<ImageEntry> images;
  std::vector<UserEntry> users;
  bool allow_system_users = false;  // `users` may name user ids below 1000, root too
  std::vector<ImageMirror> image_mirrors;
  bool unmapped_images_in_containers = true;  // "unmapped_images": container | refuse
  std::map<std::string, PoolEntry> pools;
  bool unmanaged_file_systems = true;  // false: mount commands of users, which run as root, are refused
  core::Settings timing;
  plan::Settings scheduling;
  DurationMs heartbeat_ms = 5'000;  // what agents are told to use in the sample configuration; shown only
  std::uint64_t free_space_floor_mb = 256;
};

Result<Config> parse_config(const std::string& json_text);
Result<Config> load_config(const std::string& file);

// Refuses what must not start: a listen address that others can reach without TLS (unless insecure_lab), unreadable
// certificates, a key that other users can read.
Status check_security(const Config& config);

// "127.0.0.1:7470", "[::1]:7470", "localhost:7470"
struct ListenAddress {
  std::string host;
  std::uint16_t port = 0;
};
Result<ListenAddress> parse_listen(const std::string& text);
bool is_loopback(const std::string& host);

// What holds the account's shares, as core::Account::place keeps it. FAILED_PRECONDITION naming the table when it has
// none.
Result<std::string> place_of(const Config& config, const std::string& account);
// The export behind a file server's name; `name` is as in the table. None: Trainyard makes the file server.
std::optional<ExportEntry> export_of(const Config& config, const std::string& file_server);
// FAILED_PRECONDITION when there are mount commands and the operator does not want them. `at`: "" or "nodeSetup.".
Status check_unmanaged(const Config& config, const std::string& at, bool none);
// What becomes of a job's image: see ImageMapping. FAILED_PRECONDITION with the advice for the operator when the image
// is not mapped and images that are not are refused. "" (no image): the host as it is. `server_url`: where the image is
// when its name has no registry; empty: docker.io.
Result<ImageMapping> mapping_of(const Config& config, const std::string& image, const std::string& server_url);

// Whom jobs of the workspace run as by the table; none: it has no entry for it.
std::optional<RunAs> user_of(const Config& config, const std::string& group, const std::string& workspace);

}  // namespace trainyard::controller
